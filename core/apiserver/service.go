package apiserver

import (
	"context"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	serviceapi "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
)

// The range of node ports, as upstream's default. The first ones are given out
// last: they are for those who choose theirs (KEP-3668).
const firstNodePort, firstGivenPort, lastNodePort = 30000, 30086, 32767

// serviceNumbers gives services addresses and node ports that no other service
// has. What is taken is what the stored services say; it remembers only what
// was given to requests whose services are not in the cache yet.
type serviceNumbers struct {
	mu    sync.Mutex
	given map[string]*given // "10.96.0.7" or ":30080"
}

type given struct {
	key string // of the service in the store
	rev int64  // 0 until the service was stored, -1 if it never will be
}

// allocate gives the request's service what it needs, before it is validated.
// Source: k8s.io/kubernetes/pkg/registry/core/service/storage/alloc.go.
func (r *request) allocate(context.Context) error {
	s, ok := r.object.(*core.Service)
	if !ok || r.path.Sub != "" || r.isDeletion() {
		return nil
	}
	var old *core.Service
	if r.current != nil {
		old = r.current.obj.(*core.Service)
	}
	if s.Spec.Type == core.ServiceTypeExternalName {
		return nil
	}
	if err := r.server.defaultFamilies(s, old); err != nil {
		return err
	}
	n := &r.server.numbers
	n.mu.Lock()
	defer n.mu.Unlock()
	key := r.resource.Key(s.Namespace, s.Name)
	taken := n.taken(r.cache, key)
	r.server.cachers[ipAddressRow().Prefix].each(func(e *entry) {
		if ip := e.obj.(*networking.IPAddress); !heldBy(ip, s) {
			taken[ip.Name] = true
		}
	})
	want := func(number string) { // it is this request's from here on
		g := &given{key: key}
		n.given[number] = g
		r.given = append(r.given, g)
		taken[number] = true
	}
	if err := r.server.giveAddresses(s, old, taken, want); err != nil {
		return err
	}
	return r.server.givePorts(s, old, taken, want)
}

// taken are the numbers of all services but one.
func (n *serviceNumbers) taken(c *cacher, except string) map[string]bool {
	taken := map[string]bool{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.objects {
		if key == except {
			continue
		}
		s := e.obj.(*core.Service)
		for _, ip := range s.Spec.ClusterIPs {
			taken[ip] = true
		}
		for _, p := range s.Spec.Ports {
			taken[portName(p.NodePort)] = true
		}
		taken[portName(s.Spec.HealthCheckNodePort)] = true
	}
	for number, g := range n.given {
		switch {
		case g.rev < 0 || g.rev > 0 && g.rev <= c.rev:
			delete(n.given, number) // the cache knows better
		case g.key != except:
			taken[number] = true
		}
	}
	return taken
}

func portName(port int32) string { return fmt.Sprintf(":%d", port) }

// settle ends the claims of a request, whose service was stored at rev, or
// never if that is 0.
func (r *request) settle(rev int64) {
	r.charged(rev)
	if len(r.given) == 0 {
		return
	}
	if rev == 0 {
		rev = -1
	}
	r.server.numbers.mu.Lock()
	defer r.server.numbers.mu.Unlock()
	for _, g := range r.given {
		g.rev = rev
	}
	r.given = nil
}

// givePorts sets the node ports of a service that has them. One port number
// under several protocols has one node port.
func (s *Server) givePorts(svc, old *core.Service, taken map[string]bool, want func(string)) error {
	spec := &svc.Spec
	if spec.Type != core.ServiceTypeNodePort && spec.Type != core.ServiceTypeLoadBalancer {
		return nil
	}
	allocates := spec.Type == core.ServiceTypeNodePort || spec.AllocateLoadBalancerNodePorts == nil || *spec.AllocateLoadBalancerNodePorts
	byPort := map[int32]int32{}
	for _, p := range spec.Ports {
		if p.NodePort != 0 {
			byPort[p.Port] = p.NodePort
		}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		path := field.NewPath("spec", "ports").Index(i).Child("nodePort")
		switch {
		case p.NodePort != 0:
			if why := portProblem(p.NodePort, taken); why != "" && !hadPort(old, p.NodePort) {
				return apierrors.NewInvalid(core.Kind("Service"), svc.Name, field.ErrorList{field.Invalid(path, p.NodePort, why)})
			}
		case byPort[p.Port] != 0:
			p.NodePort = byPort[p.Port]
			continue
		case !allocates:
			continue
		default:
			port, ok := s.freePort(taken)
			if !ok {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: range is full"))
			}
			p.NodePort, byPort[p.Port] = port, port
		}
		defer want(portName(p.NodePort)) // not before all are checked: two protocols may share one
	}
	if serviceapi.NeedsHealthCheck(svc) && spec.HealthCheckNodePort == 0 {
		port, ok := s.freePort(taken)
		if !ok {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort: range is full"))
		}
		spec.HealthCheckNodePort = port
		want(portName(port))
	}
	return nil
}

func portProblem(port int32, taken map[string]bool) string {
	switch {
	case port < firstNodePort || port > lastNodePort:
		return fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", firstNodePort, lastNodePort)
	case taken[portName(port)]:
		return "provided port is already allocated"
	}
	return ""
}

func hadPort(old *core.Service, port int32) bool {
	return old != nil && slices.ContainsFunc(old.Spec.Ports, func(p core.ServicePort) bool { return p.NodePort == port })
}

func (s *Server) freePort(taken map[string]bool) (int32, bool) {
	for _, band := range [][2]int32{{firstGivenPort, lastNodePort}, {firstNodePort, firstGivenPort - 1}} {
		count := uint64(band[1] - band[0] + 1)
		begin := s.random.below(count)
		for i := range count {
			port := band[0] + int32((begin+i)%count)
			if !taken[portName(port)] {
				taken[portName(port)] = true
				return port, true
			}
		}
	}
	return 0, false
}
