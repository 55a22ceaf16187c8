package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/node"
)

// What is both declared and written by hand is said once.
func TestOneMessageForEachMistake(t *testing.T) {
	class := func(handler string) *node.RuntimeClass {
		return &node.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "a", ResourceVersion: "1"}, Handler: handler}
	}
	r := runtimeClasses()
	_, err := r.ValidateCreate(t.Context(), class("A_b"))
	require.Equal(t, 1, strings.Count(err.Error(), "Invalid value"), err)
	_, err = r.ValidateUpdate(t.Context(), nil, class("c"), class("b"))
	require.Equal(t, 1, strings.Count(err.Error(), "handler: Invalid value"), err)
}
