package dns

import (
	"encoding/json"
	"time"
)

// rebuild makes the index of all that is known, if everything is.
func (k *Kube) rebuild() {
	k.mu.Lock()
	for _, r := range k.resources() {
		if !k.known[r.name] {
			k.mu.Unlock()
			return
		}
	}
	s := Snapshot{
		Namespaces: decode[Namespace](k, "Namespace"), Services: decode[Service](k, "Service"),
		Slices: decode[EndpointSlice](k, "EndpointSlice"), Pods: decode[Pod](k, "Pod"),
	}
	k.mu.Unlock()
	k.serial = max(k.serial+1, uint32(time.Now().Unix()))
	k.index.Store(NewIndex(s, k.serial))
}

// decode reads the fields that are wanted of all objects of a resource.
func decode[T any](k *Kube, resource string) (list []T) {
	for key, raw := range k.objs[resource] {
		var o T
		if err := json.Unmarshal(raw, &o); err != nil {
			k.log.Printf("[ERROR] plugin/kubernetes: %s %s cannot be read: %v", resource, key, err)
			continue
		}
		list = append(list, o)
	}
	return list
}
