package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/oci"
	"github.com/klab-project/klab/core/runtime/shim"
	"github.com/klab-project/klab/core/step"
)

// RunPodSandbox implements Runtime.
func (c *Client) RunPodSandbox(ctx context.Context, config *cri.PodSandboxConfig) (string, error) {
	m, err := newMeta(config, "")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCreatePodSandbox, err)
	}
	m.Cgroup = c.podCgroup(m.sandbox, m.ID)
	m.Made = shim.MissingCgroup(m.Cgroup)
	for _, other := range c.metasOf("") { // an earlier sandbox of the same pod
		if other.Cgroup == m.Cgroup {
			m.Made = append(m.Made, other.Made...)
		}
	}
	if err := c.runSandbox(ctx, m); err != nil {
		undo := step.Detach(ctx)
		_ = c.detach(undo, m, "") // the error that is returned came first
		_, _ = c.rt.Do(undo, shim.Request{Verb: shim.VerbDelete, ID: m.ID})
		c.forget(m.ID)
		os.RemoveAll(c.dir(m.ID))
		_ = c.removeCgroup(m)
		return "", fmt.Errorf("%w: %w", ErrCreatePodSandbox, err)
	}
	return m.ID, nil
}

func (c *Client) runSandbox(ctx context.Context, m *meta) error {
	if err := os.Mkdir(c.dir(m.ID), 0o711); err != nil {
		return err
	}
	if err := c.put(m); err != nil {
		return err
	}
	users, err := oci.UserNamespace(namespaces(m.sandbox))
	if err != nil {
		return err
	}
	if users.On() {
		if err := searchable(c.c.Root); err != nil {
			return err
		}
	}
	if err := podFiles(c.dir(m.ID), m.sandbox, users); err != nil {
		return err
	}
	pod := c.pod(m, 0)
	req := &shim.Create{Pod: m.ID}
	if namespaces(m.sandbox).GetIpc() != cri.NamespaceMode_NODE {
		uid, gid := users.Root()
		req.Mounts = []shim.Mount{{
			Type: "tmpfs", Source: "shm", Target: pod.Shm, Data: fmt.Sprintf("mode=1777,size=65536k,uid=%d,gid=%d", uid, gid),
			Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
		}}
	}
	spec, err := oci.Pause(m.ID, filepath.Join(c.c.Root, "pause"), pod)
	if err != nil {
		return err
	}
	state, err := c.create(ctx, m.ID, spec, req)
	if err != nil {
		return err
	}
	if state.Status == shim.Failed {
		return errors.New(state.Message)
	}
	if err := c.attach(ctx, m, state.PID); err != nil {
		return fmt.Errorf("failed to set up the pod's network: %w", err)
	}
	_, err = c.call(ctx, shim.VerbStart, m.ID)
	ranOCI(ctx, m, "runc start "+short(m.ID))
	return err
}

// create writes the bundle's config.json and has the container created.
func (c *Client) create(ctx context.Context, id string, spec *specs.Spec, req *shim.Create) (*shim.State, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.dir(id), "config.json"), data, 0o600); err != nil {
		return nil, err
	}
	res, err := c.rt.Do(ctx, shim.Request{Verb: shim.VerbCreate, ID: id, Create: req})
	if err != nil {
		return nil, err
	}
	ranCreate(ctx, c.dir(id), id, req, res.State)
	return res.State, nil
}

// searchable refuses a directory that a pod's root, who is nobody on the node,
// cannot enter.
func searchable(dir string) error {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("a pod with a user namespace cannot enter %s, where its files are: chmod o+x %s, or use another state directory", dir, dir)
		}
	}
	return nil
}

// podFiles writes what every container of the pod sees in /etc; they are the
// pod's root's.
func podFiles(dir string, config *cri.PodSandboxConfig, users oci.UserNS) error {
	var err error
	uid, gid := users.Root()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.WriteFile(path, []byte(text), 0o644), os.Chown(path, uid, gid))
	}
	if name := oci.Hostname(config); name != "" && namespaces(config).GetNetwork() != cri.NamespaceMode_NODE {
		write("hostname", name+"\n")
	}
	if dns := config.GetDnsConfig(); dns != nil {
		var b strings.Builder
		if len(dns.Searches) > 0 {
			fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
		}
		for _, server := range dns.Servers {
			fmt.Fprintf(&b, "nameserver %s\n", server)
		}
		if len(dns.Options) > 0 {
			fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
		}
		write("resolv.conf", b.String())
	} else if data, readErr := os.ReadFile("/etc/resolv.conf"); readErr == nil {
		write("resolv.conf", string(data))
	}
	return err
}

func (c *Client) podNet(m *meta, pid int) PodNet {
	p := PodNet{
		SandboxID: m.ID, Namespace: m.sandbox.GetMetadata().GetNamespace(), Name: m.sandbox.GetMetadata().GetName(),
		UID: m.sandbox.GetMetadata().GetUid(), PortMappings: m.sandbox.PortMappings, Annotations: m.sandbox.Annotations,
	}
	if pid > 0 {
		p.NetNS = fmt.Sprintf("/proc/%d/ns/net", pid)
	}
	return p
}

// attach gives the pod its addresses. That it is tried is noted first, so that
// a crash in between does not leak an address.
func (c *Client) attach(ctx context.Context, m *meta, pid int) error {
	if c.c.Network == nil || namespaces(m.sandbox).GetNetwork() == cri.NamespaceMode_NODE {
		return nil
	}
	changed := *m
	changed.Attached = true
	if err := c.put(&changed); err != nil {
		return err
	}
	addresses, err := c.c.Network.Attach(ctx, c.podNet(m, pid))
	if err != nil {
		return err
	}
	attached := changed
	for _, a := range addresses {
		attached.Addresses = append(attached.Addresses, a.String())
	}
	return c.put(&attached)
}

// detach is safe to repeat.
func (c *Client) detach(ctx context.Context, m *meta, netns string) error {
	m, err := c.sandboxMeta(m.ID)
	if err != nil || c.c.Network == nil || !m.Attached {
		return nil
	}
	pod := c.podNet(m, 0)
	pod.NetNS = netns
	if err := c.c.Network.Detach(ctx, pod); err != nil {
		return err
	}
	changed := *m
	changed.Attached = false
	return c.put(&changed)
}

// StopPodSandbox implements Runtime.
func (c *Client) StopPodSandbox(ctx context.Context, id string) error {
	m, err := c.sandboxMeta(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	for _, ctr := range c.metasOf(id) {
		if err := c.killAndWait(ctx, ctr.ID); err != nil {
			return fmt.Errorf("stop pod: %w", err)
		}
	}
	netns := ""
	if state, err := c.call(ctx, shim.VerbState, id); err == nil && state.Status != shim.Exited {
		netns = fmt.Sprintf("/proc/%d/ns/net", state.PID)
	}
	if err := c.detach(ctx, m, netns); err != nil {
		return fmt.Errorf("failed to tear down the pod's network: %w", err)
	}
	if err := c.killAndWait(ctx, id); err != nil {
		return fmt.Errorf("stop pod: %w", err)
	}
	m, err = c.sandboxMeta(id)
	if err != nil || m.Stopped {
		return nil
	}
	changed := *m
	changed.Stopped = true
	return c.put(&changed)
}

// killAndWait ends a container; one that has ended or is gone is no error.
func (c *Client) killAndWait(ctx context.Context, id string) error {
	_, err := c.rt.Do(ctx, shim.Request{Verb: shim.VerbKill, ID: id, Signal: int(unix.SIGKILL)})
	if err = translate(id, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	state, err := c.call(ctx, shim.VerbState, id)
	if errors.Is(err, ErrNotFound) || err == nil && state.Status != shim.Created && state.Status != shim.Running {
		return nil
	}
	if err == nil {
		_, err = c.call(ctx, shim.VerbWait, id)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// RemovePodSandbox implements Runtime.
func (c *Client) RemovePodSandbox(ctx context.Context, id string) error {
	m, err := c.sandboxMeta(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err := c.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	for _, ctr := range c.metasOf(id) {
		if err := c.RemoveContainer(ctx, ctr.ID); err != nil {
			return err
		}
	}
	if err := c.remove(ctx, m); err != nil {
		return fmt.Errorf("remove pod: %w", err)
	}
	return c.removeCgroup(m)
}

// removeCgroup removes what was made for a pod. What was there before is
// somebody else's, and what a new sandbox of the pod uses stays.
func (c *Client) removeCgroup(m *meta) error {
	if slices.ContainsFunc(c.metasOf(""), func(other *meta) bool { return other.Cgroup == m.Cgroup }) {
		return nil
	}
	return shim.RemoveDirs(m.Made)
}

// remove deletes a container or sandbox with its bundle.
func (c *Client) remove(ctx context.Context, m *meta) error {
	if _, err := c.rt.Do(ctx, shim.Request{Verb: shim.VerbDelete, ID: m.ID}); err != nil {
		return err
	}
	ranOCI(ctx, m, "runc delete "+short(m.ID))
	c.forget(m.ID)
	return os.RemoveAll(c.dir(m.ID))
}

// Freeze implements Freezer.
func (c *Client) Freeze(ctx context.Context, sandboxID string) error {
	return c.freezer(ctx, sandboxID, shim.VerbFreeze)
}

// Thaw implements Freezer.
func (c *Client) Thaw(ctx context.Context, sandboxID string) error {
	return c.freezer(ctx, sandboxID, shim.VerbThaw)
}

func (c *Client) freezer(ctx context.Context, sandboxID, verb string) error {
	if _, err := c.sandboxMeta(sandboxID); err != nil {
		return err
	}
	for _, m := range c.metasOf(sandboxID) {
		if _, err := c.call(ctx, verb, m.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%s: %w", verb, err)
		}
	}
	return nil
}
