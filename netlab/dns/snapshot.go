package dns

import "net/netip"

// Snapshot is what the API has, as far as answers follow from it. The types are
// the API's own objects with the fields that are read here, and no others.
type Snapshot struct {
	Namespaces []Namespace
	Services   []Service
	Slices     []EndpointSlice
	Pods       []Pod // only wanted for "pods verified"
}

// Meta is an object's metadata.
type Meta struct {
	Namespace string            `json:"namespace,omitempty"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// Namespace exists; that is all.
type Namespace struct {
	Meta `json:"metadata"`
}

// Service is a v1 Service.
type Service struct {
	Meta `json:"metadata"`
	Spec struct {
		Type                     string        `json:"type,omitempty"`
		ClusterIP                string        `json:"clusterIP,omitempty"`
		ClusterIPs               []string      `json:"clusterIPs,omitempty"`
		ExternalName             string        `json:"externalName,omitempty"`
		Ports                    []ServicePort `json:"ports,omitempty"`
		PublishNotReadyAddresses bool          `json:"publishNotReadyAddresses,omitempty"`
	} `json:"spec"`
}

// ServicePort is a port of a Service.
type ServicePort struct {
	Name     string `json:"name,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	Port     int    `json:"port"`
}

// EndpointSlice is a discovery.k8s.io/v1 EndpointSlice.
type EndpointSlice struct {
	Meta        `json:"metadata"`
	AddressType string         `json:"addressType,omitempty"`
	Endpoints   []Endpoint     `json:"endpoints"`
	Ports       []EndpointPort `json:"ports,omitempty"`
}

// Endpoint is one endpoint of a slice.
type Endpoint struct {
	Addresses  []string `json:"addresses"`
	Hostname   string   `json:"hostname,omitempty"`
	Conditions struct {
		Ready *bool `json:"ready,omitempty"`
	} `json:"conditions"`
	TargetRef *struct {
		Kind string `json:"kind,omitempty"`
		Name string `json:"name,omitempty"`
	} `json:"targetRef,omitempty"`
}

// EndpointPort is a port of a slice.
type EndpointPort struct {
	Name     string `json:"name,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	Port     int    `json:"port,omitempty"`
}

// Pod is a v1 Pod.
type Pod struct {
	Meta   `json:"metadata"`
	Status struct {
		PodIPs []struct {
			IP string `json:"ip"`
		} `json:"podIPs,omitempty"`
	} `json:"status"`
}

// serviceLabel names the Service that a slice belongs to.
const serviceLabel = "kubernetes.io/service-name"

// headless reports whether the Service's name leads to its endpoints.
func (s *Service) headless() bool { return s.Spec.ClusterIP == "None" }

func (s *Service) external() bool { return s.Spec.Type == "ExternalName" }

// addrs are the Service's own addresses.
func (s *Service) addrs() (list []netip.Addr) {
	if s.headless() || s.external() {
		return nil
	}
	all := s.Spec.ClusterIPs
	if len(all) == 0 {
		all = []string{s.Spec.ClusterIP}
	}
	for _, text := range all {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// below is the Service's name below the zone.
func (s *Service) below() string { return s.Name + "." + s.Namespace + ".svc" }
