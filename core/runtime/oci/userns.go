package oci

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UserNS is a pod's user namespace: which ids of the node its own ids are. The
// zero value means that the pod has the node's.
type UserNS struct{ UIDs, GIDs []specs.LinuxIDMapping }

// UserNamespace reads what CRI says of a pod's user namespace.
func UserNamespace(options *cri.NamespaceOption) (UserNS, error) {
	o := options.GetUsernsOptions()
	if o == nil || o.Mode == cri.NamespaceMode_NODE {
		return UserNS{}, nil
	}
	if o.Mode != cri.NamespaceMode_POD {
		return UserNS{}, fmt.Errorf("user namespace mode %v is not supported: POD and NODE are", o.Mode)
	}
	u := UserNS{UIDs: idMappings(o.Uids), GIDs: idMappings(o.Gids)}
	if _, ok := host(u.UIDs, 0); !ok {
		return UserNS{}, errors.New("the pod's user namespace has no mapping for uid 0")
	}
	if _, ok := host(u.GIDs, 0); !ok {
		return UserNS{}, errors.New("the pod's user namespace has no mapping for gid 0")
	}
	return u, nil
}

func idMappings(list []*cri.IDMapping) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range list {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.ContainerId, HostID: m.HostId, Size: m.Length})
	}
	return out
}

// On says whether the pod has a user namespace of its own.
func (u UserNS) On() bool { return len(u.UIDs) > 0 }

// Root is who the pod's root is on the node.
func (u UserNS) Root() (uid, gid int) {
	a, _ := host(u.UIDs, 0)
	b, _ := host(u.GIDs, 0)
	return int(a), int(b)
}

// host is which id of the node a pod's id is.
func host(mappings []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	if len(mappings) == 0 {
		return id, true
	}
	for _, m := range mappings {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID, true
		}
	}
	return 0, false
}
