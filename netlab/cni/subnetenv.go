package cni

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// SubnetFile is where a node's overlay says what its plugin [Flannel] reads.
const SubnetFile = "/run/flannel/subnet.env"

// SubnetEnv is what the overlay of a node says about it.
type SubnetEnv struct {
	Networks []netip.Prefix // of all pods
	Subnets  []netip.Prefix // of this node's
	MTU      int
	IPMasq   bool // the overlay does it
}

// Text is the file as flannel writes it.
func (e SubnetEnv) Text() []byte {
	var b strings.Builder
	for _, l := range []struct {
		key  string
		list []netip.Prefix
	}{{"NETWORK", e.Networks}, {"SUBNET", e.Subnets}} {
		for _, p := range l.list {
			if l.key == "SUBNET" { // as the bridge's address
				p = netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits())
			}
			key := "FLANNEL_" + l.key
			if !p.Addr().Is4() {
				key = "FLANNEL_IPV6_" + l.key
			}
			fmt.Fprintf(&b, "%s=%s\n", key, p)
		}
	}
	fmt.Fprintf(&b, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", e.MTU, e.IPMasq)
	return []byte(b.String())
}

// ReadSubnetEnv reads such a file.
func ReadSubnetEnv(path string) (SubnetEnv, error) {
	var e SubnetEnv
	text, err := os.ReadFile(path)
	if err != nil {
		return e, err
	}
	said := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		kind := strings.TrimPrefix(strings.TrimPrefix(key, "FLANNEL_"), "IPV6_")
		switch kind {
		case "NETWORK", "SUBNET":
			for one := range strings.SplitSeq(value, ",") {
				p, err := netip.ParsePrefix(one)
				if err != nil {
					return e, fmt.Errorf("%s: %s: %w", path, key, err)
				}
				if kind == "NETWORK" {
					e.Networks = append(e.Networks, p.Masked())
				} else {
					e.Subnets = append(e.Subnets, p.Masked())
				}
			}
		case "MTU":
			if e.MTU, err = strconv.Atoi(value); err != nil {
				return e, fmt.Errorf("%s: %s: %w", path, key, err)
			}
		case "IPMASQ":
			e.IPMasq = value == "true"
		}
		said[kind] = true
	}
	var lacks []string
	for _, kind := range []string{"NETWORK", "SUBNET", "MTU", "IPMASQ"} {
		if !said[kind] {
			lacks = append(lacks, "FLANNEL_"+kind)
		}
	}
	if len(lacks) > 0 {
		return e, fmt.Errorf("%v is missing %v", path, strings.Join(lacks, ", "))
	}
	return e, nil
}
