package criserver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

func TestShortIDs(t *testing.T) {
	ids := []string{"aa11", "aa22", "bb33"}
	for id, want := range map[string]string{"bb": "bb33", "aa2": "aa22", "cc": "cc", "aa11": "aa11"} {
		got, err := complete(id, ids)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := complete("aa", ids)
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestFilters(t *testing.T) {
	pods := []*cri.PodSandbox{
		{Id: "aa11", State: cri.PodSandboxState_SANDBOX_READY, Labels: map[string]string{"app": "web", "tier": "1"}},
		{Id: "aa22", State: cri.PodSandboxState_SANDBOX_NOTREADY, Labels: map[string]string{"app": "web"}},
		{Id: "bb33", State: cri.PodSandboxState_SANDBOX_READY},
	}
	ready := &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_READY}
	for want, filter := range map[string]*cri.PodSandboxFilter{
		"[aa11 aa22 bb33]": nil,
		"[aa11 aa22]":      {LabelSelector: map[string]string{"app": "web"}},
		"[aa11]":           {LabelSelector: map[string]string{"app": "web"}, State: ready},
		"[bb33]":           {Id: "bb"},
		"[]":               {Id: "bb", LabelSelector: map[string]string{"app": ""}},
	} {
		var got []string
		for _, p := range keep(pods, sandboxFilter(filter)) {
			got = append(got, p.Id)
		}
		require.Equal(t, want, fmt.Sprint(got))
	}
	containers := []*cri.Container{{Id: "c1", PodSandboxId: "aa11"}, {Id: "c2", PodSandboxId: "bb33", State: cri.ContainerState_CONTAINER_EXITED}}
	for want, filter := range map[string]*cri.ContainerFilter{
		"c1": {PodSandboxId: "aa"},
		"c2": {State: &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_EXITED}},
	} {
		got := keep(containers, containerFilter(filter))
		require.Len(t, got, 1)
		require.Equal(t, want, got[0].Id)
	}
}

func TestErrorsHaveTheirCodes(t *testing.T) {
	for want, err := range map[codes.Code]error{
		codes.OK:               nil,
		codes.NotFound:         fmt.Errorf("container x: %w", runtime.ErrNotFound),
		codes.InvalidArgument:  fmt.Errorf("%w: X", runtime.ErrInvalidImageName),
		codes.DeadlineExceeded: fmt.Errorf("pull: %w", context.DeadlineExceeded),
		codes.Unimplemented:    errors.Join(nil, (&server{}).haveStreams()),
		codes.Unknown:          errors.New("anything"),
	} {
		require.Equal(t, want, status.Code(coded(err)))
	}
	require.NoError(t, gone(fmt.Errorf("x: %w", runtime.ErrNotFound)))
	require.Error(t, gone(errors.New("x")))
}

func TestRequestsThatTheInterfaceRulesOut(t *testing.T) {
	group := &cri.ContainerConfig{Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{RunAsGroup: &cri.Int64Value{Value: 1}}}}
	require.ErrorContains(t, check(group), "run_as_group")
	group.Linux.SecurityContext.RunAsUser = &cri.Int64Value{Value: 1}
	require.NoError(t, check(group))
	for _, m := range []*cri.Mount{
		{RecursiveReadOnly: true},
		{RecursiveReadOnly: true, Readonly: true, Propagation: cri.MountPropagation_PROPAGATION_BIDIRECTIONAL},
	} {
		require.ErrorContains(t, check(&cri.ContainerConfig{Mounts: []*cri.Mount{m}}), "recursive_read_only")
	}
	require.NoError(t, check(&cri.ContainerConfig{Mounts: []*cri.Mount{{RecursiveReadOnly: true, Readonly: true}}}))
}

// What a command prints is kept as far as a message takes it, and the command
// is not held up by the rest.
func TestOutputIsBounded(t *testing.T) {
	b := &bounded{left: 5}
	for range 3 {
		n, err := b.Write([]byte("abc"))
		require.NoError(t, err)
		require.Equal(t, 3, n)
	}
	require.Equal(t, "abcab", string(b.bytes()))
}
