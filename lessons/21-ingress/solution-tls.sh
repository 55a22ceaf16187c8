#!/bin/sh
# What a learner does in the step "tls": the Ingress names the Secret that is there.
exec kubectl patch ingress shop --type=json --patch='[{"op":"replace","path":"/spec/tls/0/secretName","value":"shop-cert"}]'
