#!/bin/sh
# What a learner does in the step "company": a server block for one zone.
old=$(kubectl -n kube-system get configmap coredns -o 'jsonpath={.data.Corefile}')
new='corp.test:53 {
    errors
    forward . 192.0.2.10:5353
}'
printf '%s\n%s\n' "$old" "$new" | kubectl -n kube-system create configmap coredns --from-file=Corefile=/dev/stdin --dry-run=client -o yaml | kubectl replace -f -
