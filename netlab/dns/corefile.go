package dns

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	mdns "github.com/miekg/dns"
)

// Block is one server block of a Corefile.
type Block struct {
	Zones      []string // lower case and fully qualified: "cluster.local."
	Port       int
	Line       int
	Directives []Directive
}

// Directive is a line of a block, with the lines between its own braces.
type Directive struct {
	Name    string
	Args    []string
	Options []Directive
	Line    int
}

// CorefileError says what is wrong with a line of a Corefile.
type CorefileError struct {
	File string
	Line int
	Msg  string
}

func (e *CorefileError) Error() string {
	return fmt.Sprintf("%s:%d - Error during parsing: %s", e.File, e.Line, e.Msg)
}

const dnsPort = 53

// Parse reads a Corefile: its form, not what its directives mean. Errors are
// of type *CorefileError.
func Parse(file, text string) ([]Block, error) {
	p := &corefile{file: file, lines: tokens(text)}
	var blocks []Block
	for p.at < len(p.lines) {
		b, err := p.block()
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil, &CorefileError{file, 1, "the file has no server block; the smallest is \".:53 {\" and \"}\""}
	}
	return blocks, nil
}

// line is the words of one line that has any.
type line struct {
	number int
	words  []string
}

// tokens splits the text into lines of words; "#" begins a comment, and a word
// in quotes may have spaces.
func tokens(text string) (lines []line) {
	for i, raw := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if words := splitWords(raw); len(words) > 0 {
			lines = append(lines, line{i + 1, words})
		}
	}
	return lines
}

func splitWords(raw string) (words []string) {
	var word strings.Builder
	begun, quoted := false, false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range raw {
		switch {
		case r == '"':
			begun, quoted = true, !quoted
		case quoted:
			word.WriteRune(r)
		case r == '#' && !begun:
			return words
		case r == ' ' || r == '\t':
			end()
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	end()
	return words
}

type corefile struct {
	file  string
	lines []line
	at    int
}

func (p *corefile) fail(number int, format string, args ...any) error {
	return &CorefileError{p.file, number, fmt.Sprintf(format, args...)}
}

// block reads "zone[:port]… {", its directives and "}".
func (p *corefile) block() (Block, error) {
	head := p.lines[p.at]
	b := Block{Line: head.number}
	if head.words[len(head.words)-1] != "{" {
		return b, p.fail(head.number, "a server block begins with its zones and \"{\", not %q", strings.Join(head.words, " "))
	}
	for _, key := range head.words[:len(head.words)-1] {
		for _, one := range strings.Split(key, ",") {
			if one == "" {
				continue
			}
			zone, port, err := zoneKey(one)
			if err != nil {
				return b, p.fail(head.number, "%v", err)
			}
			if b.Port != 0 && b.Port != port {
				return b, p.fail(head.number, "the zones of one block have one port; write a block for each port")
			}
			b.Zones, b.Port = append(b.Zones, zone), port
		}
	}
	if len(b.Zones) == 0 {
		return b, p.fail(head.number, "a server block names its zones before \"{\"; \".\" is all names")
	}
	p.at++
	var err error
	b.Directives, err = p.body(head.number)
	return b, err
}

// zoneKey reads "example.com", ".:53", "dns://.:53" or "10.0.0.0/8"-less
// reverse names; a port is 53 unless it is said.
func zoneKey(key string) (zone string, port int, err error) {
	scheme, rest, found := strings.Cut(key, "://")
	if !found {
		rest = key
	} else if scheme != "dns" {
		return "", 0, fmt.Errorf("%q: this server speaks plain DNS only, so the scheme is dns:// or none", key)
	}
	port = dnsPort
	if host, p, splitErr := net.SplitHostPort(rest); splitErr == nil {
		rest = host
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return "", 0, fmt.Errorf("%q: the port is a number from 1 to 65535", key)
		}
	}
	zone, err = zoneName(rest)
	return zone, port, err
}

func zoneName(s string) (string, error) {
	if s == "" {
		s = "."
	}
	if _, ok := mdns.IsDomainName(s); !ok || strings.ContainsAny(s, "{}/:") {
		return "", fmt.Errorf("%q is no zone: it is a domain name, as cluster.local, or \".\"", s)
	}
	return mdns.CanonicalName(s), nil
}

// body reads lines up to the "}" that ends what began in line from.
func (p *corefile) body(from int) (list []Directive, err error) {
	for p.at < len(p.lines) {
		l := p.lines[p.at]
		p.at++
		if l.words[0] == "}" {
			if len(l.words) > 1 {
				return nil, p.fail(l.number, "\"}\" stands alone on its line, without %q", l.words[1])
			}
			return list, nil
		}
		d := Directive{Name: l.words[0], Args: l.words[1:], Line: l.number}
		last := len(d.Args) - 1
		if d.Name == "{" {
			return nil, p.fail(l.number, "\"{\" stands at the end of a directive's line")
		}
		if last >= 0 && d.Args[last] == "{" {
			d.Args = d.Args[:last]
			if d.Options, err = p.body(l.number); err != nil {
				return nil, err
			}
		}
		for _, word := range d.Args {
			if word == "{" || word == "}" {
				return nil, p.fail(l.number, "%q stands in the middle of a line", word)
			}
		}
		list = append(list, d)
	}
	return nil, p.fail(from, "the block that begins here is never ended by \"}\"")
}
