#!/bin/sh
# What a learner does in the step "first": the Pod anew, with a hostname and a subdomain.
kubectl delete pod worker --now
exec kubectl apply -f - <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: worker, labels: {role: worker}}
spec:
  hostname: first
  subdomain: team
  terminationGracePeriodSeconds: 0
  containers:
  - {name: app, image: "klab.local/tools:1", command: [sleep, "100000"]}
YAML
