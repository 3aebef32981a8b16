package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

const completionVerb = "completion"

// bashWords replaces a function of cobra's script, which fails in a bash without
// the package bash-completion. Words that bash cut at "=" and ":" stay whole.
const bashWords = `
__hoy_init_completion()
{
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    local line=${COMP_LINE:0:COMP_POINT}
    IFS=$' \t' read -r -a words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    cword=$((${#words[@]} - 1))
    cur=${words[cword]}
    prev=${words[cword - 1]}
}
`

// completeBash lets `completion bash` write [bashWords] after cobra's script.
func completeBash(app *App, root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	if cmd, _, err := root.Find([]string{completionVerb, "bash"}); err == nil {
		cmd.PostRun = func(*cobra.Command, []string) { fmt.Fprint(app.Out, bashWords) }
	}
}
