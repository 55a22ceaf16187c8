package criclient

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

// Another runtime's errors are klab's: found by errors.Is, in its words.
func TestErrors(t *testing.T) {
	err := plain(status.Error(codes.NotFound, `container "x" is not there`))
	require.ErrorIs(t, err, runtime.ErrNotFound)
	require.Equal(t, `container "x" is not there`, err.Error())
	require.ErrorIs(t, plain(status.Error(codes.DeadlineExceeded, "late")), context.DeadlineExceeded)
	require.NoError(t, none(status.Error(codes.NotFound, "gone")))
	require.Error(t, none(status.Error(codes.Unknown, "busy")))

	// A reason that is there already, as from klab's own runtime, is not said twice.
	for _, words := range []string{"no such file", "RunContainerError: no such file"} {
		err := reason(runtime.ErrRunContainer, status.Error(codes.Unknown, words))
		require.ErrorIs(t, err, runtime.ErrRunContainer)
		require.Equal(t, "RunContainerError: no such file", err.Error())
	}
	require.NoError(t, reason(runtime.ErrRunContainer, nil))
}

func TestNamesAreCheckedHere(t *testing.T) {
	require.NoError(t, named("nginx"))
	require.NoError(t, named("sha256:123"))
	require.ErrorIs(t, named("NO:NAME"), runtime.ErrInvalidImageName)
}

func TestEventsFromLists(t *testing.T) {
	const created, started, stopped = cri.ContainerEventType_CONTAINER_CREATED_EVENT, cri.ContainerEventType_CONTAINER_STARTED_EVENT, cri.ContainerEventType_CONTAINER_STOPPED_EVENT
	last := map[string]seen{"same": {"p", started}, "ends": {"p", started}, "goes": {"p", stopped}}
	now := map[string]seen{"same": {"p", started}, "ends": {"p", stopped}, "new": {"p", created}}
	var got []string
	for _, e := range changes(last, now) {
		got = append(got, e.ContainerId+" "+e.ContainerEventType.String())
	}
	slices.Sort(got)
	require.Equal(t, []string{"ends CONTAINER_STOPPED_EVENT", "goes CONTAINER_DELETED_EVENT", "new CONTAINER_CREATED_EVENT"}, got)
	require.Empty(t, changes(now, now))
}

func TestDialSaysWhoDoesNotAnswer(t *testing.T) {
	_, err := Dial(t.Context(), "tcp://127.0.0.1:1")
	require.ErrorContains(t, err, "is not of the form unix:///path/of/the.sock")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Dial(ctx, "unix:///nowhere/cri.sock")
	require.ErrorContains(t, err, "no container runtime answers at unix:///nowhere/cri.sock")
}
