package apiserver_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkCreatePod is a pod's creation over the in-process transport, with
// every step recorded and ten watchers.
func BenchmarkCreatePod(b *testing.B) {
	l := newLab(b)
	c := l.component(b, "bench")
	for i := range 10 {
		w, err := l.component(b, fmt.Sprintf("watcher-%d", i)).CoreV1().Pods("").Watch(b.Context(), metav1.ListOptions{})
		require.NoError(b, err)
		defer w.Stop()
		go func() {
			for range w.ResultChan() {
			}
		}()
	}
	b.ResetTimer()
	for i := range b.N {
		_, err := c.CoreV1().Pods("default").Create(b.Context(), newPod(fmt.Sprint("p", i)), metav1.CreateOptions{})
		require.NoError(b, err)
	}
}

func BenchmarkGetPod(b *testing.B) {
	l := newLab(b)
	c := l.component(b, "bench")
	_, err := c.CoreV1().Pods("default").Create(b.Context(), newPod("p"), metav1.CreateOptions{})
	require.NoError(b, err)
	b.ResetTimer()
	for range b.N {
		_, err := c.CoreV1().Pods("default").Get(b.Context(), "p", metav1.GetOptions{})
		require.NoError(b, err)
	}
}
