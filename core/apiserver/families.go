package apiserver

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// serviceRange is where services get their addresses of a family from the
// cluster's beginning; invalid if this cluster has none of it.
func (s *Server) serviceRange(family core.IPFamily) netip.Prefix {
	if family == core.IPv6Protocol {
		return s.cfg.ServiceCIDR6
	}
	return s.cfg.ServiceCIDR
}

func familyOf(ip string) core.IPFamily {
	if a, err := netip.ParseAddr(ip); err == nil && a.Is6() {
		return core.IPv6Protocol
	}
	return core.IPv4Protocol
}

func otherFamily(f core.IPFamily) core.IPFamily {
	if f == core.IPv4Protocol {
		return core.IPv6Protocol
	}
	return core.IPv4Protocol
}

// defaultFamilies fills in the families of a service's addresses: what was
// asked for, and what this cluster has. IPv4 comes first.
// Source: k8s.io/kubernetes/pkg/registry/core/service/storage/alloc.go.
func (s *Server) defaultFamilies(svc, old *core.Service) error {
	if staysPreferred(svc, old) {
		return nil
	}
	defaultFamilyPolicy(svc, old)
	invalid := func(errs field.ErrorList) error {
		if len(errs) == 0 {
			return nil
		}
		return apierrors.NewInvalid(core.Kind("Service"), svc.Name, errs)
	}
	if err := invalid(corevalidation.ValidateServiceClusterIPsRelatedFields(svc, old)); err != nil {
		return err
	}
	errs := append(releaseSecond(svc, old), singleHasOne(svc)...)
	if err := invalid(append(errs, s.inferFamilies(svc)...)); err != nil {
		return err
	}
	spec := &svc.Spec
	two := *spec.IPFamilyPolicy != core.IPFamilyPolicySingleStack
	if spec.ClusterIP == core.ClusterIPNone && len(spec.Selector) == 0 { // whatever its owner says
		if len(spec.IPFamilies) == 0 {
			spec.IPFamilies = []core.IPFamily{core.IPv4Protocol}
		}
	} else {
		if err := invalid(s.familiesExist(svc)); err != nil {
			return err
		}
		if len(spec.IPFamilies) == 0 {
			spec.IPFamilies = []core.IPFamily{core.IPv4Protocol}
		}
		two = two && s.cfg.ServiceCIDR6.IsValid()
	}
	if two && len(spec.IPFamilies) == 1 {
		spec.IPFamilies = append(spec.IPFamilies, otherFamily(spec.IPFamilies[0]))
	}
	return nil
}

// staysPreferred tells whether a service prefers two families, and did so, in
// the same words: it keeps what it has, whatever the cluster has meanwhile.
func staysPreferred(svc, old *core.Service) bool {
	prefers := func(s *core.Service) bool {
		return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == core.IPFamilyPolicyPreferDualStack
	}
	return old != nil && prefers(svc) && prefers(old) && svc.Spec.Type == old.Spec.Type &&
		slices.Equal(svc.Spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(svc.Spec.IPFamilies, old.Spec.IPFamilies)
}

func defaultFamilyPolicy(svc, old *core.Service) {
	if svc.Spec.IPFamilyPolicy != nil {
		return
	}
	policy := core.IPFamilyPolicySingleStack
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		policy = *old.Spec.IPFamilyPolicy
	case svc.Spec.ClusterIP == core.ClusterIPNone && len(svc.Spec.Selector) == 0:
		policy = core.IPFamilyPolicyRequireDualStack
	}
	svc.Spec.IPFamilyPolicy = &policy
}

// releaseSecond gives the second family up where an update says SingleStack,
// and refuses it where it does not.
func releaseSecond(svc, old *core.Service) (errs field.ErrorList) {
	if old == nil {
		return nil
	}
	now, was, path := &svc.Spec, &old.Spec, field.NewPath("spec", "ipFamilyPolicy")
	if *now.IPFamilyPolicy == core.IPFamilyPolicySingleStack {
		if slices.Equal(now.ClusterIPs, was.ClusterIPs) && len(now.ClusterIPs) > 1 {
			now.ClusterIPs = now.ClusterIPs[:1]
		}
		if slices.Equal(now.IPFamilies, was.IPFamilies) && len(now.IPFamilies) > 1 {
			now.IPFamilies = now.IPFamilies[:1]
		}
		return nil
	}
	if len(now.ClusterIPs) == 1 && len(was.ClusterIPs) == 2 && now.ClusterIPs[0] == was.ClusterIPs[0] {
		errs = append(errs, field.Invalid(path, now.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
	}
	if len(now.IPFamilies) == 1 && len(was.IPFamilies) == 2 && now.IPFamilies[0] == was.IPFamilies[0] {
		errs = append(errs, field.Invalid(path, now.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
	}
	return errs
}

func singleHasOne(svc *core.Service) (errs field.ErrorList) {
	spec, path := &svc.Spec, field.NewPath("spec", "ipFamilyPolicy")
	if *spec.IPFamilyPolicy != core.IPFamilyPolicySingleStack {
		return nil
	}
	const must = "must be 'RequireDualStack' or 'PreferDualStack' when multiple %s are specified"
	if len(spec.ClusterIPs) == 2 {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, fmt.Sprintf(must, "cluster IPs")))
	}
	if len(spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, fmt.Sprintf(must, "IP families")))
	}
	return errs
}

// inferFamilies takes families from the addresses that were asked for.
func (s *Server) inferFamilies(svc *core.Service) (errs field.ErrorList) {
	spec := &svc.Spec
	for i, ip := range spec.ClusterIPs {
		if ip == core.ClusterIPNone {
			break
		}
		if i < len(spec.IPFamilies) {
			continue
		}
		if family := familyOf(ip); s.serviceRange(family).IsValid() {
			spec.IPFamilies = append(spec.IPFamilies, family)
		} else {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
		}
	}
	return errs
}

func (s *Server) familiesExist(svc *core.Service) (errs field.ErrorList) {
	spec := &svc.Spec
	if *spec.IPFamilyPolicy == core.IPFamilyPolicyRequireDualStack && !s.cfg.ServiceCIDR6.IsValid() {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range spec.IPFamilies {
		if !s.serviceRange(family).IsValid() {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

// giveAddresses sets clusterIPs, one of each family, or checks those that are
// wanted.
func (s *Server) giveAddresses(svc, old *core.Service, taken map[string]bool, want func(string)) error {
	spec := &svc.Spec
	if spec.ClusterIP == core.ClusterIPNone {
		return nil
	}
	ips := slices.Clone(spec.ClusterIPs)
	for i, family := range spec.IPFamilies {
		if i >= len(ips) {
			ips = append(ips, "")
		}
		if ips[i] == "" && i == 0 {
			ips[i] = spec.ClusterIP
		}
		if ips[i] != "" && old != nil && slices.Contains(old.Spec.ClusterIPs, ips[i]) {
			continue
		}
		ip, err := s.giveAddress(svc, family, ips[i], taken)
		if err != nil {
			return err
		}
		if ip != "" {
			ips[i] = ip
			want(ip)
		}
	}
	if len(ips) > 0 {
		spec.ClusterIP, spec.ClusterIPs = ips[0], ips
	}
	return nil
}

// giveAddress is a free address, or the one that is asked for; none if that is
// no address: validation says it better.
func (s *Server) giveAddress(svc *core.Service, family core.IPFamily, asked string, taken map[string]bool) (string, error) {
	ranges := s.serviceRanges(family)
	if asked == "" {
		for _, cidr := range ranges {
			if ip, ok := s.freeAddress(cidr, taken); ok {
				return ip, nil
			}
		}
		return "", apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: range is full", svc.Name))
	}
	why := ""
	ip, err := netip.ParseAddr(asked)
	switch {
	case err != nil:
		return "", nil
	case !slices.ContainsFunc(ranges, func(cidr netip.Prefix) bool { return cidr.Contains(ip) }):
		why = fmt.Sprintf("the provided network does not match the current range: provided IP is not in the valid range. The range of valid IPs is %s", words(ranges))
	case taken[asked]:
		why = "provided IP is already allocated"
	}
	if why != "" {
		return "", apierrors.NewInvalid(core.Kind("Service"), svc.Name, field.ErrorList{field.Invalid(
			field.NewPath("spec", "clusterIPs"), svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", asked, why))})
	}
	return asked, nil
}

// mostAddresses is how many of a range are looked at: the first 2^16 of a
// range of IPv6 are enough.
const mostAddresses = 1 << 16

// freeAddress looks for an address from a random one on. The first ones stay
// free for those who choose theirs, as upstream leaves them.
func (s *Server) freeAddress(cidr netip.Prefix, taken map[string]bool) (string, bool) {
	cidr = cidr.Masked()
	size := uint64(mostAddresses)
	if bits := cidr.Addr().BitLen() - cidr.Bits(); bits <= 32 {
		size = 1 << bits
	}
	reserved := min(max(16, size/16), 256)
	if size <= reserved {
		reserved = 1
	}
	first, count := addressAt(cidr.Addr(), reserved), size-reserved-1
	begin := s.random.below(count)
	for i := range count {
		ip := addressAt(first, (begin+i)%count).String()
		if !taken[ip] {
			return ip, true
		}
	}
	return "", false
}

// addressAt is the nth address after a.
func addressAt(a netip.Addr, n uint64) netip.Addr {
	v := new(big.Int).SetBytes(a.AsSlice())
	v.Add(v, new(big.Int).SetUint64(n))
	ip, _ := netip.AddrFromSlice(v.FillBytes(make([]byte, a.BitLen()/8)))
	return ip
}
