#!/bin/sh
# What a learner does in the step "mend": the directive is misspelt, which the
# log of a server says; servers that wait for their next start begin anew.
set -e
kubectl -n kube-system get configmap coredns -o yaml | sed 's/kubernets/kubernetes/' | kubectl -n kube-system replace -f -
kubectl -n kube-system rollout restart deployment/coredns
