package ingress

import "time"

// The fields that are used of the API's objects, as JSON has them.

// Meta is an object's metadata.
type Meta struct {
	Namespace, Name, UID string
	ResourceVersion      string
	Generation           int64
	CreationTimestamp    time.Time
	Annotations, Labels  map[string]string
}

// Ingress is one of networking.k8s.io/v1.
type Ingress struct {
	Metadata Meta
	Spec     struct {
		IngressClassName *string
		DefaultBackend   *Backend
		TLS              []struct {
			Hosts      []string
			SecretName string
		}
		Rules []Rule
	}
	Status struct {
		LoadBalancer struct{ Ingress []Address }
	}
}

// Rule is what a host's paths lead to.
type Rule struct {
	Host string
	HTTP *struct{ Paths []Path }
}

// Path is one of a rule. PathType is "Exact", "Prefix" or
// "ImplementationSpecific".
type Path struct {
	Path, PathType string
	Backend        Backend
}

// Backend is a Service's port, by number or by name; or a Resource.
type Backend struct {
	Service *struct {
		Name string
		Port struct {
			Number int
			Name   string
		}
	}
	Resource *struct{ Kind, Name string }
}

// Address is where a load balancer is.
type Address struct {
	IP       string `json:"ip,omitempty"`
	Hostname string `json:"hostname,omitempty"`
}

// Class is an IngressClass.
type Class struct {
	Metadata Meta
	Spec     struct{ Controller string }
}

// Service is one of v1.
type Service struct {
	Metadata Meta
	Spec     struct {
		Type, ExternalName string
		Ports              []struct {
			Name        string
			Protocol    string
			Port        int
			AppProtocol string
		}
	}
	Status struct {
		LoadBalancer struct{ Ingress []Address }
	}
}

// Slice is an EndpointSlice.
type Slice struct {
	Metadata Meta
	Ports    []struct {
		Name *string
		Port *int
	}
	Endpoints []struct {
		Addresses  []string
		Conditions struct{ Ready *bool }
	}
}

// Secret is one of v1; its data is decoded from base64 by encoding/json.
type Secret struct {
	Metadata Meta
	Type     string
	Data     map[string][]byte
}

// Snapshot is all that there is.
type Snapshot struct {
	Ingresses []Ingress
	Classes   []Class
	Services  []Service
	Slices    []Slice
	Secrets   []Secret
}
