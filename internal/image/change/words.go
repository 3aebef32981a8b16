package change

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// jsonList reads the JSON form of an instruction's arguments.
func jsonList(args string) ([]string, bool) {
	if !strings.HasPrefix(args, "[") {
		return nil, false
	}
	list := []string{}
	if err := json.Unmarshal([]byte(args), &list); err != nil || list == nil {
		return nil, false
	}
	return list, true
}

// lexer reads words with Dockerfile quoting: 'as it is', "with $variables" and
// backslash before any character.
type lexer struct {
	env  []string
	text []rune
	pos  int
}

func newLexer(cfg *container.Config, s string) *lexer {
	return &lexer{env: cfg.Env, text: []rune(s)}
}

func (l *lexer) skipSpace() {
	for l.pos < len(l.text) && isSpace(l.text[l.pos]) {
		l.pos++
	}
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' }

// word reads up to the next character that stop accepts outside quotes.
func (l *lexer) word(stop func(rune) bool) (string, error) {
	var b strings.Builder
	for l.pos < len(l.text) {
		r := l.text[l.pos]
		if stop(r) {
			break
		}
		l.pos++
		switch r {
		case '\'':
			if err := l.single(&b); err != nil {
				return "", err
			}
		case '"':
			if err := l.double(&b); err != nil {
				return "", err
			}
		case '\\':
			if l.pos < len(l.text) {
				b.WriteRune(l.text[l.pos])
				l.pos++
			}
		case '$':
			if err := l.variable(&b); err != nil {
				return "", err
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}

func (l *lexer) single(b *strings.Builder) error {
	for l.pos < len(l.text) {
		r := l.text[l.pos]
		l.pos++
		if r == '\'' {
			return nil
		}
		b.WriteRune(r)
	}
	return fmt.Errorf("unexpected end of statement while looking for matching single-quote")
}

func (l *lexer) double(b *strings.Builder) error {
	for l.pos < len(l.text) {
		r := l.text[l.pos]
		l.pos++
		switch r {
		case '"':
			return nil
		case '\\':
			if l.pos < len(l.text) {
				next := l.text[l.pos]
				l.pos++
				if !strings.ContainsRune(`"$\`, next) {
					b.WriteRune('\\')
				}
				b.WriteRune(next)
			}
		case '$':
			if err := l.variable(b); err != nil {
				return err
			}
		default:
			b.WriteRune(r)
		}
	}
	return fmt.Errorf("unexpected end of statement while looking for matching double-quote")
}

// variable reads what follows a dollar sign.
func (l *lexer) variable(b *strings.Builder) error {
	if l.pos < len(l.text) && l.text[l.pos] == '{' {
		l.pos++
		return l.braced(b)
	}
	name := l.name()
	if name == "" {
		b.WriteByte('$')
		return nil
	}
	b.WriteString(l.lookup(name))
	return nil
}

func (l *lexer) name() string {
	start := l.pos
	for l.pos < len(l.text) && isNameRune(l.text[l.pos], l.pos == start) {
		l.pos++
	}
	return string(l.text[start:l.pos])
}

func isNameRune(r rune, first bool) bool {
	letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
	return letter || (!first && r >= '0' && r <= '9')
}

func (l *lexer) braced(b *strings.Builder) error {
	name := l.name()
	if name == "" {
		return fmt.Errorf("bad substitution: a variable's name is missing after ${")
	}
	if l.pos >= len(l.text) {
		return fmt.Errorf("syntax error: missing '}' after ${%s", name)
	}
	got := l.lookup(name)
	r := l.text[l.pos]
	l.pos++
	if r == '}' {
		b.WriteString(got)
		return nil
	}
	if r != ':' || l.pos >= len(l.text) {
		return fmt.Errorf("unsupported modifier in ${%s…}", name)
	}
	op := l.text[l.pos]
	l.pos++
	word, err := l.word(func(r rune) bool { return r == '}' })
	if err != nil {
		return err
	}
	if l.pos >= len(l.text) {
		return fmt.Errorf("syntax error: missing '}' after ${%s", name)
	}
	l.pos++
	switch {
	case op != '-' && op != '+':
		return fmt.Errorf("unsupported modifier (%c) in ${%s…}", op, name)
	case (op == '-') == (got == ""):
		b.WriteString(word)
	case op == '-':
		b.WriteString(got)
	}
	return nil
}

func (l *lexer) lookup(name string) string {
	for _, e := range l.env {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v
		}
	}
	return ""
}

// words reads words that spaces part.
func words(cfg *container.Config, s string) ([]string, error) {
	l := newLexer(cfg, s)
	var out []string
	for {
		l.skipSpace()
		if l.pos >= len(l.text) {
			return out, nil
		}
		w, err := l.word(isSpace)
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
}

// value reads the whole argument as one word.
func value(cfg *container.Config, s string) (string, error) {
	return newLexer(cfg, s).word(func(rune) bool { return false })
}

func oneWord(cfg *container.Config, name, s string) (string, error) {
	list, err := words(cfg, s)
	if err != nil {
		return "", err
	}
	if len(list) != 1 {
		return "", fmt.Errorf("%s requires exactly one argument", name)
	}
	return list[0], nil
}

// keyValues reads name=value pairs, or the old form "name value".
func keyValues(cfg *container.Config, instruction, s string) ([][2]string, error) {
	isEnd := func(r rune) bool { return r == '=' || isSpace(r) }
	first := newLexer(cfg, s)
	if _, err := first.word(isEnd); err != nil {
		return nil, err
	}
	if first.pos >= len(first.text) || first.text[first.pos] != '=' {
		name, rest := cutWord(s)
		if rest == "" {
			return nil, fmt.Errorf("%s must have two arguments", instruction)
		}
		v, err := value(cfg, rest)
		return [][2]string{{name, v}}, err
	}
	l := newLexer(cfg, s)
	var out [][2]string
	for {
		l.skipSpace()
		if l.pos >= len(l.text) {
			return out, nil
		}
		key, err := l.word(isEnd)
		if err != nil {
			return nil, err
		}
		if l.pos >= len(l.text) || l.text[l.pos] != '=' {
			return nil, fmt.Errorf("syntax error - can't find = in %q. Must be of the form: name=value", key)
		}
		l.pos++
		v, err := l.word(isSpace)
		if err != nil {
			return nil, err
		}
		out = append(out, [2]string{key, v})
	}
}
