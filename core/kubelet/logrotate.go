package kubelet

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Containers' logs are rotated by size, as upstream's kubelet does it: the
// runtime writes on into a new file, all but the last two are compressed.
// ("Logging Architecture", "Log rotation".)
const (
	logMaxSize  = 10 << 20 // bytes
	logMaxFiles = 5        // of one container's life, the present one included
	logCheck    = 10 * time.Second
)

// rotateLogs looks at the logs of what runs until ctx ends. Logs grow also
// while the lab is held.
func (k *Kubelet) rotateLogs(ctx context.Context) {
	ticker := time.NewTicker(logCheck) //nolint:forbidigo // see above
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := k.rotateLarge(ctx, logMaxSize, logMaxFiles); err != nil && ctx.Err() == nil {
				k.log.Warn("rotate logs", "err", err)
			}
		}
	}
}

// rotateLarge rotates the logs that have more than size bytes. The runtime is
// asked only if there are any.
func (k *Kubelet) rotateLarge(ctx context.Context, size int64, files int) error {
	paths, _ := filepath.Glob(k.Root + "/logs/*/*/*.log")
	large := map[string]bool{}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Size() > size {
			large[path] = true
		}
	}
	if len(large) == 0 {
		return nil
	}
	list, err := k.Runtime.ListContainers(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range list {
		if c.State != cri.ContainerState_CONTAINER_RUNNING {
			continue
		}
		status, err := k.Runtime.ContainerStatus(ctx, c.Id)
		if err != nil || !large[status.LogPath] {
			continue
		}
		if err := k.rotate(ctx, c.Id, status.LogPath, files); err != nil {
			errs = append(errs, fmt.Errorf("rotate %s: %w", status.LogPath, err))
		}
	}
	return errors.Join(errs...)
}

// rotate puts one log aside and lets the runtime begin a new one.
func (k *Kubelet) rotate(ctx context.Context, id, path string, files int) error {
	old, err := rotated(path)
	if err != nil {
		return err
	}
	for len(old) > max(files-2, 0) { // with the present one, which is put aside now, and a new one
		if err := os.Remove(old[0]); err != nil {
			return err
		}
		old = old[1:]
	}
	for _, name := range old {
		if !strings.HasSuffix(name, ".gz") {
			if err := compress(name); err != nil {
				return err
			}
		}
	}
	aside := path + "." + time.Now().Format("20060102-150405") //nolint:forbidigo // logs have the machine's time
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	if err := k.Runtime.ReopenContainerLog(ctx, id); err != nil {
		return errors.Join(err, os.Rename(aside, path)) // it writes on into the file that it has
	}
	return nil
}

// rotated are the parts of a log that were put aside, the oldest first. What a
// compression that was interrupted has left is removed.
func rotated(path string) ([]string, error) {
	all, err := filepath.Glob(path + ".*")
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range all {
		if strings.HasSuffix(name, ".tmp") {
			if err := os.Remove(name); err != nil {
				return nil, err
			}
			continue
		}
		if slices.Contains(all, name+".gz") { // compressed, but not removed any more
			if err := os.Remove(name); err != nil {
				return nil, err
			}
			continue
		}
		list = append(list, name)
	}
	slices.Sort(list) // the names have the time
	return list, nil
}

func compress(name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(name+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err := errors.Join(err, z.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(name+".tmp"))
	}
	if err := os.Rename(name+".tmp", name+".gz"); err != nil {
		return err
	}
	return os.Remove(name)
}

// removeLog removes a log with all that was put aside of it.
func removeLog(path string) {
	_ = os.Remove(path)
	old, _ := filepath.Glob(path + ".*")
	for _, name := range old {
		_ = os.Remove(name)
	}
}
