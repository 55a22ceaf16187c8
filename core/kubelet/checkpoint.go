package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// checkpoint is what a kubelet must know of a pod that neither the API nor the
// runtime keeps for it. It is a file in the pod's directory, so it is there for
// the next kubelet and goes with the pod.
type checkpoint struct {
	Allocated *allocation              `json:"allocated,omitempty"` // what the pod was granted
	Actuated  *allocation              `json:"actuated,omitempty"`  // what its cgroups were last given
	Restarts  map[string]restartRecord `json:"restarts,omitempty"`  // back-off, by container
	// UserNamespace is the first id on the node of the pod's 65536; 0: none.
	UserNamespace uint32 `json:"userNamespace,omitempty"`
}

// restartRecord is a back-off that goes on: its length, and when it was last
// answered by an attempt, as a date of the lab.
type restartRecord struct {
	Delay time.Duration `json:"delay"`
	Last  time.Time     `json:"last"`
}

func (k *Kubelet) checkpointFile(uid types.UID) string {
	return filepath.Join(k.podDir(uid), "checkpoint.json")
}

// readCheckpoint returns an empty checkpoint if there is none.
func (k *Kubelet) readCheckpoint(uid types.UID) (checkpoint, error) {
	var c checkpoint
	text, err := os.ReadFile(k.checkpointFile(uid))
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("checkpoint of pod %s: %w", uid, err)
	}
	return c, nil
}

// writeCheckpoint replaces the file as a whole: who reads it after a crash
// finds the former one or the new one.
func (k *Kubelet) writeCheckpoint(uid types.UID, c *checkpoint) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.podDir(uid), 0o750); err != nil {
		return fmt.Errorf("checkpoint of pod %s: %w", uid, err)
	}
	path := k.checkpointFile(uid)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("checkpoint of pod %s: %w", uid, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("checkpoint of pod %s: %w", uid, err)
	}
	return nil
}

// restore takes up what an earlier kubelet knew of the pod.
func (w *podWorker) restore() {
	c, err := w.k.readCheckpoint(w.uid)
	if err != nil {
		w.k.log.Warn("read checkpoint", "err", err)
		return
	}
	w.check = c
	w.state.actuated = c.Actuated
	for key, r := range c.Restarts {
		w.restarts[key] = &backoffEntry{delay: r.Delay, last: w.k.Clock.Since() - w.k.Clock.Now().Sub(r.Last)}
	}
}

// remember changes the checkpoint and writes it.
func (w *podWorker) remember(change func(*checkpoint)) error {
	w.saving.Lock()
	defer w.saving.Unlock()
	w.mu.Lock()
	change(&w.check)
	c := w.check
	w.mu.Unlock()
	return w.k.writeCheckpoint(w.uid, &c)
}

// rememberRestarts keeps the back-offs of the pod's containers.
func (w *podWorker) rememberRestarts() error {
	records := map[string]restartRecord{}
	for key, e := range w.restarts {
		records[key] = restartRecord{Delay: e.delay, Last: w.k.Clock.Now().Add(e.last - w.k.Clock.Since())}
	}
	return w.remember(func(c *checkpoint) { c.Restarts = records })
}
