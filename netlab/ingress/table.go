package ingress

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// ControllerName is what an IngressClass calls this controller.
const ControllerName = "klab.local/ingress"

// classAnnotation is how a class was named before there was a field.
const classAnnotation = "kubernetes.io/ingress.class"

// Table is what Ingresses want.
type Table struct {
	hosts    map[string][]*Route // by host as rules write it; "" is every host
	fallback *Route              // the default backend; nil: nobody's
	certs    map[string]*tls.Certificate
	// Ours are the Ingresses of this controller's classes.
	Ours []*Ingress
	// Problems are what is wrong with them, in their order.
	Problems []Problem
}

// Route leads the requests of a host and path to endpoints.
type Route struct {
	Ingress   string // "namespace/name"
	Host      string
	Path      string
	Exact     bool
	Service   string   // "namespace/name:port", as the Ingress says it
	Endpoints []string // "10.244.1.2:8080"
	Balance   string   // RoundRobin or LeastConn
	H2C       bool     // the endpoints speak HTTP/2 without TLS
}

// Problem is what somebody should know about an Ingress.
type Problem struct {
	Ingress         *Ingress
	Reason, Message string
}

// NewTable makes the table of a snapshot. Of two Ingresses that say different
// things about the same path the older one counts.
func NewTable(s Snapshot) *Table {
	t := &Table{hosts: map[string][]*Route{}, certs: map[string]*tls.Certificate{}}
	b := builder{Table: t, s: s}
	for i := range s.Ingresses {
		if s.ours(&s.Ingresses[i]) {
			t.Ours = append(t.Ours, &s.Ingresses[i])
		}
	}
	slices.SortFunc(t.Ours, func(a, b *Ingress) int {
		return cmp.Or(a.Metadata.CreationTimestamp.Compare(b.Metadata.CreationTimestamp), strings.Compare(keyOf(a.Metadata), keyOf(b.Metadata)))
	})
	for _, ing := range t.Ours {
		b.ingress(ing)
	}
	for host, routes := range t.hosts {
		slices.SortStableFunc(routes, func(a, b *Route) int { // the longest path first, and Exact before Prefix
			return b.weight() - a.weight()
		})
		t.hosts[host] = routes
	}
	return t
}

// weight orders the routes of a host.
func (r *Route) weight() int {
	switch {
	case r.Path == "":
		return -1
	case r.Exact:
		return 2*len(r.Path) + 1
	}
	return 2 * len(strings.TrimRight(r.Path, "/"))
}

// routes are all of a table.
func (t *Table) routes() (list []*Route) {
	for _, of := range t.hosts {
		list = append(list, of...)
	}
	if t.fallback != nil {
		list = append(list, t.fallback)
	}
	return list
}

func keyOf(m Meta) string { return m.Namespace + "/" + m.Name }

// ours tells whether an Ingress is of a class of this controller.
func (s *Snapshot) ours(ing *Ingress) bool {
	name := ing.Metadata.Annotations[classAnnotation]
	if ing.Spec.IngressClassName != nil {
		name = *ing.Spec.IngressClassName
	}
	return slices.ContainsFunc(s.Classes, func(c Class) bool { return c.Metadata.Name == name && c.Spec.Controller == ControllerName })
}

type builder struct {
	*Table
	s Snapshot
}

func (b *builder) problem(ing *Ingress, reason, format string, args ...any) {
	b.Problems = append(b.Problems, Problem{ing, reason, fmt.Sprintf(format, args...)})
}

func (b *builder) ingress(ing *Ingress) {
	var fallback *Route
	if how := ing.Metadata.Annotations[BalanceAnnotation]; how != "" && how != RoundRobin && how != LeastConn {
		b.problem(ing, "BadAnnotation", "%s is %s or %s, not %q: %s is used", BalanceAnnotation, RoundRobin, LeastConn, how, RoundRobin)
	}
	if ing.Spec.DefaultBackend != nil {
		fallback = b.route(ing, "", "/", "Prefix", *ing.Spec.DefaultBackend)
		if len(ing.Spec.Rules) == 0 && b.fallback == nil {
			b.fallback = fallback
		}
	}
	for _, rule := range ing.Spec.Rules {
		host := strings.ToLower(rule.Host)
		if rule.HTTP != nil {
			for _, p := range rule.HTTP.Paths {
				b.add(b.route(ing, host, p.Path, p.PathType, p.Backend))
			}
		}
		if fallback != nil { // what no path of the host takes
			rest := *fallback
			rest.Host, rest.Path = host, ""
			b.add(&rest)
		}
	}
	for _, entry := range ing.Spec.TLS {
		b.certificate(ing, entry.SecretName, entry.Hosts)
	}
}

// add adds a route, unless an older Ingress has one for the same.
func (b *builder) add(r *Route) {
	for _, other := range b.hosts[r.Host] {
		if other.Path == r.Path && other.Exact == r.Exact {
			return
		}
	}
	b.hosts[r.Host] = append(b.hosts[r.Host], r)
}

func (b *builder) route(ing *Ingress, host, path, pathType string, to Backend) *Route {
	r := &Route{Ingress: keyOf(ing.Metadata), Host: host, Path: path, Exact: pathType == "Exact", Balance: RoundRobin}
	if ing.Metadata.Annotations[BalanceAnnotation] == LeastConn {
		r.Balance = LeastConn
	}
	if !r.Exact {
		r.Path = strings.TrimRight(cmp.Or(path, "/"), "/") + "/" // elements, so that /foo is not /foobar
	}
	if to.Service == nil {
		what := "a backend that is no Service"
		if to.Resource != nil {
			what = to.Resource.Kind + " " + to.Resource.Name
		}
		b.problem(ing, "UnsupportedBackend", "%s cannot be a backend here: only Services can", what)
		return r
	}
	port := to.Service.Port.Name
	if port == "" {
		port = fmt.Sprint(to.Service.Port.Number)
	}
	namespace := ing.Metadata.Namespace
	r.Service = namespace + "/" + to.Service.Name + ":" + port
	i := slices.IndexFunc(b.s.Services, func(s Service) bool {
		return s.Metadata.Namespace == namespace && s.Metadata.Name == to.Service.Name
	})
	if i < 0 {
		b.problem(ing, "MissingService", "Service %s/%s does not exist", namespace, to.Service.Name)
		return r
	}
	svc := &b.s.Services[i]
	for _, p := range svc.Spec.Ports {
		if to.Service.Port.Name != "" && p.Name == to.Service.Port.Name || to.Service.Port.Name == "" && p.Port == to.Service.Port.Number {
			r.Endpoints, r.H2C = b.endpoints(svc, p.Name, p.Port), p.AppProtocol == "kubernetes.io/h2c"
			return r
		}
	}
	if svc.Spec.Type == "ExternalName" && to.Service.Port.Number > 0 {
		r.Endpoints = b.endpoints(svc, "", to.Service.Port.Number)
		return r
	}
	b.problem(ing, "MissingPort", "Service %s/%s has no port %s", namespace, to.Service.Name, port)
	return r
}

// endpoints are those of a Service's port that are ready.
func (b *builder) endpoints(svc *Service, portName string, number int) (list []string) {
	if svc.Spec.Type == "ExternalName" {
		return []string{fmt.Sprintf("%s:%d", svc.Spec.ExternalName, number)}
	}
	for _, s := range b.s.Slices {
		if s.Metadata.Namespace != svc.Metadata.Namespace || s.Metadata.Labels["kubernetes.io/service-name"] != svc.Metadata.Name {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != portName {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
					continue
				}
				host := e.Addresses[0]
				if strings.Contains(host, ":") {
					host = "[" + host + "]"
				}
				list = append(list, fmt.Sprintf("%s:%d", host, *p.Port))
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// certificate remembers a Secret's certificate for hosts; without hosts, for
// those that it names itself.
func (b *builder) certificate(ing *Ingress, name string, hosts []string) {
	if name == "" {
		return // the controller's own
	}
	namespace := ing.Metadata.Namespace
	i := slices.IndexFunc(b.s.Secrets, func(s Secret) bool { return s.Metadata.Namespace == namespace && s.Metadata.Name == name })
	if i < 0 {
		b.problem(ing, "MissingSecret", "Secret %s/%s does not exist: the controller's own certificate is shown", namespace, name)
		return
	}
	data := b.s.Secrets[i].Data
	cert, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		b.problem(ing, "BadSecret", "Secret %s/%s has no certificate with its key: %v", namespace, name, err)
		return
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err == nil {
		cert.Leaf = leaf
		if len(hosts) == 0 {
			hosts = leaf.DNSNames
		}
		for _, h := range hosts {
			if leaf.VerifyHostname(strings.Replace(h, "*", "any", 1)) != nil {
				b.problem(ing, "WrongCertificate", "the certificate of Secret %s/%s is not for %s", namespace, name, h)
			}
		}
	}
	for _, h := range hosts {
		if h = strings.ToLower(h); b.certs[h] == nil {
			b.certs[h] = &cert
		}
	}
}
