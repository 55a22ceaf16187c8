package fault

import "strings"

// The kinds "object" and "proxy" are the caller's. An object's Key is
// "RESOURCE.GROUP NAMESPACE/NAME POINTER" (RFC 6901), To the value there.

var controllerHeals = Text{
	"No controller repairs it: the object is wanted that way now.",
	"没有控制器会修复它：对象现在就是被要求成这样。"}

// serviceCards break objects of the API that packets depend on.
func serviceCards() []Card {
	object := func(resource, target, pointer, to string) []Change {
		return []Change{{Kind: "object", Key: resource + " " + target + " " + pointer, To: to}}
	}
	return []Card{
		{
			Name: "dns-down", On: OnCluster,
			Title: Text{"Cluster DNS down", "集群 DNS 停掉"},
			Does:  Text{"The Deployment of the cluster's DNS is scaled to zero.", "把集群 DNS 的 Deployment 缩容到 0。"},
			Sees: Text{"Addresses work, names do not: the Service kube-dns has no endpoints, and resolvers are refused or wait.",
				"用地址能通，用名字不通：kube-dns 这个 Service 没有 Endpoints，解析请求被拒绝或一直等待。"},
			Heals: controllerHeals,
			plan: func(l Lab, _ ask) ([]Change, error) {
				if l.DNS == "" {
					return nil, wrong("this cluster has no DNS that could be broken")
				}
				return object("deployments.apps", l.DNS, "/spec/replicas", "0"), nil
			},
		},
		{
			Name: "wrong-selector", On: OnService,
			Title: Text{"Selector that selects nobody", "selector 选不中任何 Pod"},
			Does:  Text{"The Service's selector asks for one more label, which no pod has.", "给 Service 的 selector 多加一个没有 Pod 拥有的标签。"},
			Sees:  Text{"The Service is there, its pods are Ready, and it has no endpoints: connections are refused.", "Service 在，Pod 也都 Ready，但没有 Endpoints：连接被拒绝。"},
			Heals: controllerHeals,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return object("services", a.target, "/spec/selector/tier", `"backend-v2"`), nil
			},
		},
		{
			Name: "bad-image", On: OnDeployment,
			Title: Text{"Image that does not exist", "镜像不存在"},
			Does:  Text{"The first container of the Deployment's template gets an image that no registry has.", "把 Deployment 模板中第一个容器的镜像改成仓库里没有的。"},
			Sees:  Text{"The rollout stops by itself: new pods are ImagePullBackOff, old ones stay.", "滚动更新自己停住：新 Pod 处于 ImagePullBackOff，旧 Pod 保留。"},
			Heals: controllerHeals,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return object("deployments.apps", a.target, "/spec/template/spec/containers/0/image", `"klab.local/tools:none"`), nil
			},
		},
		{
			Name: "bad-probe", On: OnDeployment,
			Title: Text{"Readiness probe that always fails", "就绪探针总是失败"},
			Does:  Text{"The first container of the Deployment's template gets a readiness probe that always fails.", "给 Deployment 模板中第一个容器加一个总是失败的就绪探针。"},
			Sees:  Text{"New pods run and are never Ready; the rollout waits for them.", "新 Pod 在运行却永远不 Ready；滚动更新一直等待。"},
			Heals: controllerHeals,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return object("deployments.apps", a.target, "/spec/template/spec/containers/0/readinessProbe",
					`{"exec":{"command":["false"]},"failureThreshold":1,"periodSeconds":1,"successThreshold":1,"timeoutSeconds":1}`), nil
			},
		},
	}
}

// slashed is a link's name as a part of a parameter's: "flannel/1".
func slashed(link string) string { return strings.ReplaceAll(link, ".", "/") }
