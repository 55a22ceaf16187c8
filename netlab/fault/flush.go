package fault

import (
	"errors"
	"slices"
)

// The modes of a proxy that have chains of their own; see Node.Proxy.
const (
	modeNFTables = "nftables"
	modeIPVS     = "ipvs"
)

var flushArgs = []Arg{
	{"table", "", Text{"nat, filter, mangle or raw of iptables, a table of nftables, or ipvs; by default the proxy's",
		"iptables 的 nat、filter、mangle 或 raw，nftables 的某个表，或 ipvs；默认是代理所用的"}, anything},
	{"chain", "", Text{"the chain, or the map, that is emptied; by default the one that leads to Services",
		"被清空的链或映射（map）；默认是通往 Service 的那一个"}, anything},
	{"family", "", Text{"4 or 6: only that family of addresses; by default both that the node has",
		"4 或 6：只清空这一种地址族；默认清空节点具有的全部"}, func(s string) error {
		if s != "4" && s != "6" {
			return errors.New("4 or 6 is wanted")
		}
		return nil
	}},
}

// flush is what empties a chain of a node, in the families that it has. What
// the card is not told is where the node's proxy has its Services.
func (n Node) flush(a ask) ([]Change, error) {
	table, chain, family := a.args["table"], a.args["chain"], a.args["family"]
	four, six := family != "6", family != "4" && n.IP6.IsValid()
	if family == "6" && !six {
		return nil, wrong("%s has no IPv6: the cluster has one family of addresses; \"klab up --dual-stack\" makes one with both", n.Name)
	}
	iptables := slices.Contains([]string{"nat", "filter", "mangle", "raw", "security"}, table)
	switch {
	case table == "" && n.Proxy == modeNFTables:
		table = "kube-proxy"
	case table == "" && n.Proxy == modeIPVS && chain == "":
		table = modeIPVS
	case table == "":
		table, iptables = "nat", true
	}
	var list []Change
	add := func(wanted bool, kind, key string) {
		if wanted {
			list = append(list, n.in(kind, key, "empty"))
		}
	}
	switch {
	case iptables:
		chain = orElse(chain, "KUBE-SERVICES")
		add(four, "chain", table+" "+chain)
		add(six, "chain6", table+" "+chain)
	case table == modeIPVS && chain != "":
		return nil, wrong("virtual servers have no chain %q: table=ipvs empties them all", chain)
	case table == modeIPVS:
		add(four, "servers", "IPv4")
		add(six, "servers", "IPv6")
	default:
		chain = orElse(chain, "services")
		add(four, "verdicts", "ip "+table+" "+chain)
		add(six, "verdicts", "ip6 "+table+" "+chain)
	}
	return list, nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
