package api

import (
	"slices"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Groups are the groups and versions served, the core group first.
func Groups() []schema.GroupVersion {
	var gvs []schema.GroupVersion
	for _, r := range table() {
		if !slices.Contains(gvs, r.GV()) {
			gvs = append(gvs, r.GV())
		}
	}
	return gvs
}

// APIVersions is the answer of /api; address is the server's host:port.
func APIVersions(address string) *metav1.APIVersions {
	return &metav1.APIVersions{
		TypeMeta:                   metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"},
		Versions:                   []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: address}},
	}
}

// APIGroupList is the answer of /apis.
func APIGroupList() *metav1.APIGroupList {
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, gv := range Groups() {
		if group := APIGroup(gv.Group); group != nil && gv.Group != "" {
			group.TypeMeta = metav1.TypeMeta{}
			list.Groups = append(list.Groups, *group)
		}
	}
	return list
}

// APIGroup is the answer of /apis/GROUP, or nil.
func APIGroup(name string) *metav1.APIGroup {
	for _, gv := range Groups() {
		if gv.Group == name {
			version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
			return &metav1.APIGroup{
				TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: name,
				Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
			}
		}
	}
	return nil
}

// APIResourceList is the answer of /api/VERSION and /apis/GROUP/VERSION, or nil.
func APIResourceList(gv schema.GroupVersion) *metav1.APIResourceList {
	list := &metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: gv.String(),
	}
	for _, r := range table() {
		if r.GV() != gv {
			continue
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: r.Name, SingularName: r.Singular, Namespaced: r.Namespaced, Kind: r.Kind,
			Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
		})
		for _, sub := range r.Subresources {
			entry := metav1.APIResource{Name: r.Name + "/" + sub.Name, Namespaced: r.Namespaced, Kind: sub.Kind.Kind, Verbs: sub.Verbs}
			if sub.Kind.GroupVersion() != gv {
				entry.Group, entry.Version = sub.Kind.Group, sub.Kind.Version
			}
			list.APIResources = append(list.APIResources, entry)
		}
	}
	if list.APIResources == nil {
		return nil
	}
	return list
}

// APIGroupDiscoveryList is the aggregated answer of /api, for legacy, or /apis.
func APIGroupDiscoveryList(legacy bool) *apidiscoveryv2.APIGroupDiscoveryList {
	list := &apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscoveryv2.SchemeGroupVersion.String()},
	}
	for _, gv := range Groups() {
		if (gv.Group == "") != legacy {
			continue
		}
		version := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
		for _, r := range table() {
			if r.GV() == gv {
				version.Resources = append(version.Resources, r.discovery())
			}
		}
		list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{
			ObjectMeta: metav1.ObjectMeta{Name: gv.Group},
			Versions:   []apidiscoveryv2.APIVersionDiscovery{version},
		})
	}
	return list
}

func (r *Resource) discovery() apidiscoveryv2.APIResourceDiscovery {
	scope := apidiscoveryv2.ScopeCluster
	if r.Namespaced {
		scope = apidiscoveryv2.ScopeNamespace
	}
	kind := func(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
		if gvk.GroupVersion() == r.GV() {
			return &metav1.GroupVersionKind{Kind: gvk.Kind} // that of the list is meant
		}
		return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
	}
	d := apidiscoveryv2.APIResourceDiscovery{
		Resource: r.Name, ResponseKind: kind(r.GVK()), Scope: scope, SingularResource: r.Singular,
		Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
	}
	for _, sub := range r.Subresources {
		d.Subresources = append(d.Subresources, apidiscoveryv2.APISubresourceDiscovery{
			Subresource: sub.Name, ResponseKind: kind(sub.Kind), Verbs: sub.Verbs,
		})
	}
	return d
}
