// Command klab-cni is klab's network plugins as the programs that the Container
// Network Interface specification wants: which of them it is says the name that
// it is called by. A node has it in /opt/cni/bin; libcni and cnitool can call it
// there, and so can other plugins. In a node's own runtime the same plugins are
// called in process (netlab/cni).
//
//	CNI_PATH=/opt/cni/bin cnitool add klab /run/netns/test
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
)

func main() {
	name := filepath.Base(os.Args[0])
	plugin, ok := cni.Builtin("", link.By{Actor: name})[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s is no network plugin: link it to one of the names bandwidth, bridge, flannel, host-local, ipvlan, loopback, macvlan, portmap, routed, vxlan-port\n", name)
		os.Exit(2)
	}
	ctx := context.Background()
	about := "CNI " + name + " plugin of klab"
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:    func(a *skel.CmdArgs) error { return add(ctx, plugin, a) },
		Del:    func(a *skel.CmdArgs) error { return coded(plugin.Del(ctx, call(a))) },
		Check:  func(a *skel.CmdArgs) error { return coded(plugin.Check(ctx, call(a))) },
		GC:     func(a *skel.CmdArgs) error { return coded(plugin.GC(ctx, call(a))) },
		Status: func(a *skel.CmdArgs) error { return coded(plugin.Status(ctx, call(a))) },
	}, version.All, about)
}

func call(a *skel.CmdArgs) cni.Call {
	return cni.Call{ContainerID: a.ContainerID, NetNS: a.Netns, IfName: a.IfName, Args: a.Args, Config: a.StdinData,
		Path: cni.Path(filepath.SplitList(a.Path))}
}

func add(ctx context.Context, plugin cni.Plugin, a *skel.CmdArgs) error {
	result, err := plugin.Add(ctx, call(a))
	if err != nil {
		return coded(err)
	}
	as, err := (&version.ConfigDecoder{}).Decode(a.StdinData)
	if err != nil {
		return err
	}
	return types.PrintResult(result, as)
}

// coded is an error with its code, which what is wrapped around it would hide.
func coded(err error) error {
	if err == nil {
		return nil
	}
	return cni.AsError(err)
}
