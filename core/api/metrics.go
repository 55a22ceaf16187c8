package api

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/metrics/pkg/apis/metrics"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// measurements are what nodes and pods use, as upstream's metrics-server
// serves it: nothing is stored, it is asked for when somebody wants to know.
// Source: https://github.com/kubernetes-sigs/metrics-server, pkg/api.
func measurements() []*Resource {
	row := func(kind, name string, namespaced bool, usage func(runtime.Object) (corev1.ResourceList, metav1.Duration)) *Resource {
		gv := metricsv1beta1.SchemeGroupVersion
		return &Resource{
			Group: gv.Group, Version: gv.Version, Kind: kind, ListKind: kind + "List", Name: name,
			Namespaced: namespaced, Verbs: []string{"get", "list"}, Storage: gv, Measured: true,
			columns: func(obj runtime.Object) ([]metav1.TableColumnDefinition, []any) {
				used, window := usage(obj)
				return usageColumns(used), usageCells(obj, used, window)
			},
		}
	}
	return []*Resource{
		row("NodeMetrics", "nodes", false, func(obj runtime.Object) (corev1.ResourceList, metav1.Duration) {
			m := obj.(*metrics.NodeMetrics)
			return m.Usage, m.Window
		}),
		row("PodMetrics", "pods", true, func(obj runtime.Object) (corev1.ResourceList, metav1.Duration) {
			m := obj.(*metrics.PodMetrics)
			sum := corev1.ResourceList{}
			for _, c := range m.Containers {
				for name, q := range c.Usage {
					total := sum[name]
					total.Add(q)
					sum[name] = total
				}
			}
			return sum, m.Window
		}),
	}
}

func usageColumns(used corev1.ResourceList) []metav1.TableColumnDefinition {
	columns := []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"}}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		columns = append(columns, metav1.TableColumnDefinition{Name: string(name), Type: "string", Format: "quantity"})
	}
	return append(columns, metav1.TableColumnDefinition{Name: "Window", Type: "string", Format: "duration"})
}

func usageCells(obj runtime.Object, used corev1.ResourceList, window metav1.Duration) []any {
	cells := []any{obj.(metav1.ObjectMetaAccessor).GetObjectMeta().GetName()}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		q := used[name]
		cells = append(cells, q.String())
	}
	return append(cells, fmt.Sprint(window.Duration))
}
