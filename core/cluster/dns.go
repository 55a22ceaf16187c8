package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/netlab/dns"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/trace"
)

// DNSAsk is a name that is to be looked up.
type DNSAsk struct {
	From string        `json:"from"` // "pod/web", "node-1", "outside"
	Name string        `json:"name"` // as a program writes it; or an address
	Type string        `json:"type,omitempty"`
	Wait time.Duration `json:"wait,omitempty"` // for each answer; 0: as the resolv.conf says
}

// DNSAnswer is what became of it, with each question that was sent.
type DNSAnswer struct {
	step.ResolveDetail
	Asked []step.QueryDetail `json:"asked"`
}

const dnsPath = remote.Prefix + "dns"

// LookUp has the daemon look a name up as a resolver at that place does. That it
// has no answer is no error.
func LookUp(ctx context.Context, d Dir, ask DNSAsk) (a DNSAnswer, err error) {
	err = d.command(ctx, dnsPath, ask, &a)
	return a, err
}

// dnsActor asks DNS servers on the learner's behalf.
const dnsActor = "klab-dns"

// serveDNS answers LookUp.
func (p *packets) serveDNS() http.HandlerFunc {
	return serveCommand(p.d, func(ctx context.Context, _ *http.Request, ask DNSAsk) (any, error) {
		return p.lookUp(step.With(ctx, p.d.lab), ask)
	})
}

// lookUp is one name.
func (p *packets) lookUp(ctx context.Context, ask DNSAsk) (*DNSAnswer, error) {
	name, kind, err := dns.Question(ask.Name, ask.Type)
	if err != nil {
		return nil, wrong{err}
	}
	names, err := askNames(ctx, p.client)
	if err != nil {
		return nil, fmt.Errorf("names of addresses: %w", err)
	}
	spaces := p.spaces()
	singles, err := p.findSingles(ctx, ask.From)
	if err != nil {
		return nil, err
	}
	ends := &packetEnds{knownNames: names, spaces: spaces, singles: singles, namespace: "default"}
	from, space, err := ends.source(ask.From)
	if err != nil {
		return nil, wrong{err}
	}
	files, err := p.resolverFiles(ends, from)
	if err != nil {
		return nil, wrong{err}
	}
	r := &dns.Resolver{Conf: dns.ReadResolvConf(files.resolvConf), Dial: netns.Dialer(spacePath(spaces, space)), Place: names.place,
		Wait: ask.Wait, Actor: dnsActor, Node: from.Node}
	a := &DNSAnswer{ResolveDetail: step.ResolveDetail{ID: p.nextID(), From: from, Name: ask.Name, Type: kind, File: files.of, Conf: r.Conf}}
	err = step.Do(ctx, step.Action{Actor: dnsActor, Node: from.Node, Verb: step.Resolve, Object: placeObject(from), Detail: a.ResolveDetail}, func(ctx context.Context) error {
		l, err := r.Resolve(ctx, a.ID, name, kind)
		if err != nil {
			return err
		}
		a.Asked, a.Queries, a.Outcome, a.Says, a.Answer = l.Queries, len(l.Queries), l.Outcome, l.Says, l.Answer
		if a.Outcome == step.DNSSilent {
			p.whySilent(ctx, ask, a)
		}
		a.Notes = append(a.Notes, files.notes(ask.Name)...)
		step.Note(ctx, a.ResolveDetail)
		return nil
	})
	return a, err
}

func spacePath(spaces []trace.Space, name string) string {
	for _, s := range spaces {
		if s.Name == name {
			return s.Path
		}
	}
	return ""
}

// whySilent sends a packet where the last question went, and follows it.
func (p *packets) whySilent(ctx context.Context, ask DNSAsk, a *DNSAnswer) {
	to := netip.AddrPortFrom(netip.MustParseAddr(a.Asked[len(a.Asked)-1].Server.Address), 53).String()
	a.Try = fmt.Sprintf("klab packet %s %s --proto udp", ask.From, to)
	sent, err := p.send(ctx, PacketAsk{From: ask.From, To: to, Proto: "udp"})
	switch {
	case err != nil:
		a.Notes = append(a.Notes, "no packet could be followed to it: "+err.Error())
	case sent.Drop != nil:
		a.Says = "no server answers: " + sent.Drop.Says
		if o := sent.Drop.Object; o != nil {
			a.Notes = append(a.Notes, "responsible: "+o.String())
		}
	default:
		a.Notes = append(a.Notes, "a packet that was sent to it afterwards arrives: it is the server that does not answer, or the network is well again")
	}
}

// resolverFiles are what a resolver at a place reads.
type resolverFiles struct {
	of                string // whose: "/etc/resolv.conf of pod default/web"
	resolvConf, hosts string
}

func (p *packets) resolverFiles(e *packetEnds, from step.Place) (f resolverFiles, err error) {
	var text []byte
	switch from.Kind {
	case "outside":
		return resolverFiles{of: "outside: its own server", resolvConf: "nameserver " + outsideResolver + "\n"}, nil
	case "node":
		f.of = "/etc/resolv.conf of " + from.Name
		text, err = os.ReadFile(filepath.Join(p.d.node(from.Name), "resolv.conf"))
		f.resolvConf = string(text)
		return f, err
	case "pod":
		pod, err := e.pod(from.Namespace + "/" + from.Name)
		if err != nil {
			return f, err
		}
		f.of = "/etc/resolv.conf of pod " + from.Namespace + "/" + from.Name
		if f.resolvConf, f.hosts, err = podResolver(pod); err != nil {
			return f, fmt.Errorf("what pod %s/%s looks names up by cannot be read: %w", from.Namespace, from.Name, err)
		}
		return f, nil
	}
	return f, fmt.Errorf("%s looks no names up: ask from a pod, a node or outside", from.Name)
}

// podResolver reads the two files as a container of the pod sees them.
func podResolver(pod *corev1.Pod) (resolvConf, hosts string, err error) {
	ids := []string{string(pod.UID)}
	if hash := pod.Annotations[corev1.MirrorPodAnnotationKey]; hash != "" { // the API's object stands for a static pod
		ids = append(ids, hash)
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return "", "", err
	}
	own, err := os.Stat("/")
	if err != nil {
		return "", "", err
	}
	for _, p := range procs {
		groups, err := os.ReadFile(filepath.Join("/proc", p.Name(), "cgroup"))
		if err != nil || !mentions(string(groups), ids) {
			continue
		}
		// A container's own links do not lead out of it.
		root, err := os.OpenRoot(filepath.Join("/proc", p.Name(), "root"))
		if err != nil {
			continue // it has just ended
		}
		if its, err := root.Stat("."); err != nil || os.SameFile(its, own) {
			root.Close()
			continue // it is about to become the container's, and has the machine's files still
		}
		text, err := readShort(root, "etc/resolv.conf")
		names, _ := readShort(root, "etc/hosts")
		root.Close()
		if err == nil {
			return string(text), string(names), nil
		}
	}
	return "", "", errors.Join(errors.New("no container of it runs"), fs.ErrNotExist)
}

// readShort reads a file of a container, which may have put anything in its
// place: a pipe that nobody writes to, or a device without end.
func readShort(root *os.Root, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("/%s is no file", name))
	}
	return io.ReadAll(io.LimitReader(f, shortMost))
}

// shortMost is how much of such a file is read, in bytes.
const shortMost = 64 << 10

func mentions(groups string, ids []string) bool {
	for _, id := range ids {
		if id != "" && strings.Contains(groups, id) {
			return true
		}
	}
	return false
}

// notes say what a resolver would have done before it asked anybody.
func (f resolverFiles) notes(name string) (list []string) {
	for line := range strings.Lines(f.hosts) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		for i, n := range fields {
			if i > 0 && strings.EqualFold(n, strings.TrimSuffix(name, ".")) {
				list = append(list, fmt.Sprintf("/etc/hosts has %s: %s; programs that look there first ask no server", n, fields[0]))
			}
		}
	}
	return list
}
