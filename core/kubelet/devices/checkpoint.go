package devices

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const checkpointName = "kubelet_internal_checkpoint"

// checkpoint is the file, in upstream's form.
type checkpoint struct {
	Data     checkpointData
	Checksum uint64
}

type checkpointData struct {
	PodDeviceEntries  []entry
	RegisteredDevices map[string][]string
}

type entry struct {
	PodUID        string
	ContainerName string
	ResourceName  string
	DeviceIDs     map[int64][]string
	AllocResp     []byte
}

func (d checkpointData) sum() uint64 {
	text, _ := json.Marshal(d)
	h := fnv.New32a()
	h.Write(text)
	return uint64(h.Sum32())
}

// remember is save where nobody waits for its error.
func (d *Devices) remember() {
	if err := d.save(); err != nil {
		d.Logger.Warn("remember the devices", "err", err)
	}
}

// save replaces the file as a whole. Why it could not is also logged: some who
// call it have nobody to tell.
func (d *Devices) save() error {
	d.saving.Lock()
	defer d.saving.Unlock()
	data, err := d.data()
	if err != nil {
		return err
	}
	text, err := json.Marshal(checkpoint{data, data.sum()})
	if err != nil {
		return err
	}
	path := filepath.Join(d.Dir, checkpointName)
	if err = os.WriteFile(path+".new", text, 0o600); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		err = fmt.Errorf("failed to write checkpoint file %q: %w", checkpointName, err)
		d.Logger.Error("devices", "err", err)
	}
	return err
}

func (d *Devices) data() (checkpointData, error) {
	data := checkpointData{RegisteredDevices: map[string][]string{}}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, o := range d.resources {
		data.RegisteredDevices[name] = sets.List(o.healthy)
	}
	for uid, containers := range d.given {
		for container, resources := range containers {
			for name, g := range resources {
				answer, err := proto.Marshal(g.answer)
				if err != nil {
					return data, err
				}
				data.PodDeviceEntries = append(data.PodDeviceEntries, entry{string(uid), container, name, g.devices, answer})
			}
		}
	}
	slices.SortFunc(data.PodDeviceEntries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.PodUID, b.PodUID), cmp.Compare(a.ContainerName, b.ContainerName), cmp.Compare(a.ResourceName, b.ResourceName))
	})
	return data, nil
}

// load reads the file. Resources in it are offered with nothing until their
// plugins come again, or their time is over. A damaged file is no reason not to
// begin: what pods have is not known then.
func (d *Devices) load() error {
	text, err := os.ReadFile(filepath.Join(d.Dir, checkpointName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var c checkpoint
	if err := json.Unmarshal(text, &c); err != nil || c.Checksum != c.Data.sum() {
		d.Logger.Error("Continue after failing to read checkpoint file. Device allocation info may NOT be up-to-date", "file", checkpointName, "err", err)
		return nil
	}
	for _, e := range c.Data.PodDeviceEntries {
		answer := &api.ContainerAllocateResponse{}
		if err := proto.Unmarshal(e.AllocResp, answer); err != nil {
			return fmt.Errorf("%s: what the plugin of %s answered for pod %s: %w", checkpointName, e.ResourceName, e.PodUID, err)
		}
		d.given.add(types.UID(e.PodUID), e.ContainerName, e.ResourceName, grant{e.DeviceIDs, answer})
	}
	for name := range c.Data.RegisteredDevices {
		d.resources[name] = &offer{devices: map[string]*api.Device{}, healthy: sets.New[string](), stopped: d.Clock.Since()}
	}
	return nil
}
