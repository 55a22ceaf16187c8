#!/bin/sh
# What a learner does in the step "feed": the pod anew, with enough of everything.
kubectl delete pod hungry --grace-period=1
sed '/requests:/d; s/limits:.*/limits: {cpu: 200m, memory: 128Mi}/' files/hungry.yaml | kubectl apply -f -
