package api

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"
)

// BenchmarkCreatePod is what a new pod costs before the store and after it.
func BenchmarkCreatePod(b *testing.B) {
	r := pods()
	pod := made[*core.Pod](b, r, podManifest)
	value, err := r.EncodeStored(pod)
	require.NoError(b, err)
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		body, err := Encode(pod, mediaType, r.GV(), false)
		require.NoError(b, err)
		b.Run("decode/"+mediaType, func(b *testing.B) {
			for b.Loop() {
				_, _, err := Decode(body, mediaType, r.GVK(), "")
				require.NoError(b, err)
			}
		})
	}
	b.Run("validate", func(b *testing.B) {
		for b.Loop() {
			_, err := r.ValidateCreate(context.Background(), pod)
			require.NoError(b, err)
		}
	})
	b.Run("encode stored", func(b *testing.B) {
		for b.Loop() {
			_, err := r.EncodeStored(pod)
			require.NoError(b, err)
		}
	})
	b.Run("decode stored", func(b *testing.B) {
		for b.Loop() {
			_, err := r.DecodeStored(value, 7)
			require.NoError(b, err)
		}
	})
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			_, err := r.Table([]runtime.Object{pod}, metav1.ListMeta{}, nil, time.Now())
			require.NoError(b, err)
		}
	})
}
