package kubelet

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// readEnvFile finds a variable in a file of lines NAME='value'. Values may
// contain line ends and nothing is expanded; # begins a comment. A variable
// that is not there is empty. ("Define Environment Variable Values Using An
// Init Container".)
func readEnvFile(r io.Reader, key string) (string, error) {
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimLeft(lines.Text(), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		wrong := func(what string) error {
			return fmt.Errorf("invalid environment variable format at line %d: %s", number, what)
		}
		name, value, found := strings.Cut(line, "=")
		switch {
		case !found:
			return "", wrong("missing '='")
		case strings.TrimRight(name, " \t") == "":
			return "", wrong("empty variable name")
		case strings.TrimRight(name, " \t") != name:
			return "", wrong("whitespace before '=' is not allowed")
		case value != strings.TrimLeft(value, " \t"): // as in a shell: it is empty
			if name == key {
				return "", nil
			}
			continue
		case !strings.HasPrefix(value, "'"):
			return "", wrong("value must be enclosed in single quotes")
		}
		value, rest, closed := strings.Cut(value[1:], "'")
		for began := number; !closed; number++ {
			if !lines.Scan() {
				return "", fmt.Errorf("invalid environment variable format starting at line %d: unclosed single quote", began)
			}
			var more string
			more, rest, closed = strings.Cut(lines.Text(), "'")
			value += "\n" + more
		}
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != '#' {
			return "", wrong("unexpected content after closing quote")
		}
		if name == key {
			return value, nil
		}
	}
	return "", lines.Err()
}
