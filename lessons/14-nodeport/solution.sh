#!/bin/sh
# What a learner does in the step "both": a Pod of the Service on node-1 too.
kubectl apply -f - <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: shop-1, labels: {app: shop}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers:
  - {name: app, image: "klab.local/tools:1", command: [httpd, ":8080"]}
YAML
kubectl wait --for=condition=Ready pod/shop-1 --timeout=60s
sleep 1 # until node-1 knows
exec klab packet outside node-1:30080
