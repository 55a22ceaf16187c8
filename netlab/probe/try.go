package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/kmod"
	"github.com/klab-project/klab/netlab/link"
)

type try = func(ctx context.Context, s *scratch) (string, error)

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// add makes a link and takes it away again.
func (s *scratch) add(l netlink.Link) error {
	if err := s.nl.LinkAdd(l); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return errors.New("the kernel does not know this kind of link, and found no module for it")
		}
		return err
	}
	return s.nl.LinkDel(l)
}

func namespaces(context.Context, *scratch) (string, error) { return "", nil }

// veth leaves its pair for others to be made on.
func veth(_ context.Context, s *scratch) (string, error) {
	if err := s.nl.LinkAdd(&netlink.Veth{LinkAttrs: named("p0"), PeerName: "p1"}); err != nil {
		return "", err
	}
	l, err := s.nl.LinkByName("p0")
	if err != nil {
		return "", err
	}
	s.parent = l.Attrs().Index
	return "", s.nl.LinkSetUp(l)
}

func kind(k string) try {
	return func(_ context.Context, s *scratch) (string, error) {
		return "", s.add(&netlink.GenericLink{LinkAttrs: named("probe0"), LinkType: k})
	}
}

func vxlan(_ context.Context, s *scratch) (string, error) {
	return "", s.add(&netlink.Vxlan{LinkAttrs: named("probe0"), VxlanId: 1, Port: 8472, SrcAddr: net.IPv4(127, 0, 0, 1), VtepDevIndex: s.parent})
}

func onParent(k string) try {
	return func(_ context.Context, s *scratch) (string, error) {
		a := named("probe0")
		a.ParentIndex = s.parent
		switch k {
		case "macvlan":
			return "", s.add(&netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE})
		case "ipvlan":
			return "", s.add(&netlink.IPVlan{LinkAttrs: a, Mode: netlink.IPVLAN_MODE_L2})
		}
		return "", s.add(&netlink.Vlan{LinkAttrs: a, VlanId: 7})
	}
}

func netem(_ context.Context, s *scratch) (string, error) {
	q := netlink.NewNetem(netlink.QdiscAttrs{LinkIndex: s.parent, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		netlink.NetemQdiscAttrs{Latency: 1000})
	if err := s.nl.QdiscAdd(q); err != nil {
		return "", fmt.Errorf("%w (module sch_netem)", err)
	}
	return "", s.nl.QdiscDel(q)
}

func brNetfilter(ctx context.Context, _ *scratch) (string, error) {
	const dir = "/proc/sys/net/bridge"
	if _, err := os.Stat(dir); err == nil {
		return "", nil
	}
	if _, err := kmod.Load(ctx, link.By{Actor: "doctor"}, "br_netfilter"); err != nil {
		return "", err
	}
	_, err := os.Stat(dir)
	return "", err
}

// iptables feeds the rules of a node to the machine's iptables.
func iptables(ctx context.Context, _ *scratch) (string, error) {
	tool, err := firewall.Detect(ctx)
	if err != nil {
		return "", err
	}
	tool.Lock = filepath.Join(os.TempDir(), fmt.Sprintf("klab-probe-%d.lock", os.Getpid()))
	defer os.Remove(tool.Lock)
	here, err := link.Open("/proc/thread-self/ns/net", link.By{Actor: "doctor"})
	if err != nil {
		return "", err
	}
	defer here.Close()
	pods, cluster := netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("10.244.0.0/16")
	found := tool.Version + " " + tool.Backend
	return found, tool.Feed(ctx, here, firewall.Node(pods, cluster, 8472).Render())
}

func conntrack(context.Context, *scratch) (string, error) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	return "up to " + strings.TrimSpace(string(text)) + " connections", err
}

func nft(ctx context.Context, _ *scratch) (string, error) {
	out, err := exec.CommandContext(ctx, "nft", "add", "table", "inet", "klab-probe").CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("nft is not installed (package nftables)")
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return "", nil
}

func ipvs(context.Context, *scratch) (string, error) {
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		return "", errors.New("the kernel has no module ip_vs")
	}
	return "", nil
}

func tun(context.Context, *scratch) (string, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("/dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("probe1")
	if err != nil {
		return "", err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return "", unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
}

func ipv6(context.Context, *scratch) (string, error) {
	_, err := os.Stat("/proc/sys/net/ipv6/conf/all")
	return "", err
}

func overlayfs(context.Context, *scratch) (string, error) {
	dir, err := os.MkdirTemp("", "klab-probe-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return "", fmt.Errorf("mount tmpfs: %w", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	for _, d := range []string{"lower", "upper", "work", "all"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
	return "", unix.Mount("overlay", filepath.Join(dir, "all"), "overlay", 0, options)
}

func cgroups(context.Context, *scratch) (string, error) {
	const root = "/sys/fs/cgroup"
	if text, err := os.ReadFile(root + "/cgroup.controllers"); err == nil {
		for _, c := range []string{"cpu", "memory", "pids"} {
			if !strings.Contains(" "+string(text), " "+c) {
				return "v2", fmt.Errorf("the controller %s is not available here, only %s", c, strings.TrimSpace(string(text)))
			}
		}
		return "v2", nil
	}
	for _, c := range []string{"cpu", "memory", "pids", "devices", "freezer"} {
		if _, err := os.Stat(filepath.Join(root, c, "cgroup.procs")); err != nil {
			return "", fmt.Errorf("neither v2 nor the v1 controller %s is mounted at %s", c, root)
		}
	}
	return "v1", nil
}

func moveMount(context.Context, *scratch) (string, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	var uts unix.Utsname
	_ = unix.Uname(&uts) // fails for a bad address only
	return "Linux " + unix.ByteSliceToString(uts.Release[:]), err
}
