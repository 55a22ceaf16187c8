package oci

import (
	"fmt"
	"io"
	"strconv"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ResolveUser finds out who a container runs as: the pod's choice, else the
// image's ("user", "user:group", names or numbers). passwd and group are the
// image's files of passwd(5) and group(5), or nil. With the policy Strict the
// groups that the image's file gives the user do not count.
func ResolveUser(sec *cri.LinuxContainerSecurityContext, imageUser string, passwd, group io.Reader) (specs.User, error) {
	name := imageUser
	switch {
	case sec.GetRunAsUser() != nil:
		name = strconv.FormatInt(sec.GetRunAsUser().Value, 10)
	case sec.GetRunAsUsername() != "":
		name = sec.GetRunAsUsername()
	}
	if sec.GetRunAsGroup() != nil {
		if name == "" {
			name = "0"
		}
		name += ":" + strconv.FormatInt(sec.GetRunAsGroup().Value, 10)
	}
	found, err := user.GetExecUser(name, nil, passwd, group)
	if err != nil {
		return specs.User{}, fmt.Errorf("user %q: %w", name, err)
	}
	resolved := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	if sec.GetSupplementalGroupsPolicy() != cri.SupplementalGroupsPolicy_Strict {
		for _, g := range found.Sgids {
			resolved.AdditionalGids = append(resolved.AdditionalGids, uint32(g))
		}
	}
	for _, g := range sec.GetSupplementalGroups() {
		resolved.AdditionalGids = append(resolved.AdditionalGids, uint32(g))
	}
	return resolved, nil
}
