// Package names makes names for containers that were given none, and says
// which names are allowed.
package names

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
)

var allowed = regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// maxLength bounds a name; a host name is shorter by far.
const maxLength = 255

// Check is nil for an allowed name, else errdefs.ErrInvalidArgument in Docker's words.
func Check(name string) error {
	if len(name) > maxLength || !allowed.MatchString(name) {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
			"Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name))
	}
	return nil
}

// tries is how many plain names are tried before a number is added.
const tries = 12

// Generate draws names, an adjective and a noun, until reserve takes one.
// Reserve's error means that the name is taken.
func Generate(reserve func(name string) error) (string, error) {
	var err error
	for i := range 10 * tries {
		name := pick()
		if i >= tries {
			name = fmt.Sprintf("%s%d", name, rand.IntN(1<<(i/tries*4)))
		}
		if err = reserve(name); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("no free name found: %w", err)
}

func pick() string {
	return adjectives[rand.IntN(len(adjectives))] + "_" + nouns[rand.IntN(len(nouns))]
}

var adjectives = strings.Fields(`
able agile airy alert amber ample apt aqua arctic ardent arid autumn azure bold brave breezy brief bright
brisk bronze calm candid casual cheery chilly civil classic clean clear clever coastal cobalt cool copper
coral cosmic cozy crimson crisp curious dainty dapper daring deep deft dewy dry eager early earnest easy
ebony elegant emerald epic even exact fair famous fancy fast fearless festive fine firm fleet fluent fond
frank free fresh frosty gentle giant gifted glad gleaming global glossy golden grand grassy great green
handy happy hardy hazel hearty helpful honest humble icy ideal indigo ivory jade jolly jovial joyful keen
kind large lavish leafy level light lilac lively lofty loyal lucid lucky lunar magic maple marine mellow
merry mighty mild mint misty modern modest mossy neat nimble noble northern novel olive open orange patient
pearly placid plain playful pleasant polar polite prime proud pure quick quiet rapid rare ready red regal
robust rosy round royal ruby rustic sandy scarlet serene sharp shiny silent silky silver simple sincere
sleek smart smooth snowy snug soft solar solid sonic southern spry stable starry steady sterling still
stoic stout sturdy subtle sunny super swift tall teal tender thrifty tidy tranquil true trusty upbeat
urban valiant vast velvet vibrant violet vital vivid warm wavy western wild windy wise witty woody young
zesty`)

var nouns = strings.Fields(`
acorn albatross alder alpaca anchor ant antelope apple apricot arch aspen aster atlas atoll badger bamboo
barge barley basil bay beach beacon beaver bee beech beetle bell berry birch bison blossom bluff boat bobcat
bongo breeze bridge brook buffalo cabin cactus camel canal canary canoe canyon cape cardinal caribou castle
cat cedar chamois cheetah cherry chestnut chinchilla cicada clam cliff cloud clove clover coast cobra comet
compass condor conifer copse coral coyote crab crane creek cricket crow cub cutter cypress daisy dale deer
delta dhow dingo dingy dolphin donkey dory dove dragonfly drake duck dune eagle egret elk elm emu ermine
falcon fawn fern ferry ferret fig finch fir firefly fjord flamingo flint forest fox frigate frog galaxy
galleon gannet garnet gazelle gecko geyser gibbon ginger giraffe glacier glade goat goldfinch goose gopher
grape grotto grouse grove gull gulf harbor hare hawk hazelnut heather hedgehog heron hill hippo hornbill
horse hummingbird ibex ibis iguana impala inlet iris island ivy jackal jaguar jasmine jay jetty juniper
kayak kestrel ketch kingfisher kite kiwi koala lagoon lake lantern larch lark laurel lemon lemur leopard
lighthouse lily lime linden lion lizard llama lobster lotus lynx magnolia magpie mango maple marigold marlin
marmot marten meadow meerkat mesa meteor mole mongoose moon moose moss moth mountain mulberry mussel myrtle
narwhal nebula newt nutmeg oak oasis ocelot octopus olive orca orchard orchid oriole osprey ostrich otter
owl oyster panda panther parrot parsley partridge peach pear pebble pelican penguin peony pepper petrel
pheasant pigeon pine plateau plover plum pond pony poplar poppy porcupine porpoise prairie puffin puma
quail quartz quince rabbit raccoon raft rapids raven ravine redwood reef reindeer ridge river robin rook
rose rosemary saffron sage salmon sandpiper schooner seal sequoia shark sheep shore shrimp sierra skiff
skylark sloop sparrow spruce squid squirrel starfish starling stork stream sturgeon summit sunflower swallow
swan swift sycamore tamarin tapir teal tern thistle thrush thyme tiger toad topaz toucan trout tulip tundra
turtle valley vole violet wagtail walnut walrus warbler waterfall weasel whale willow wombat woodpecker wren
yacht yak yew zebra`)
