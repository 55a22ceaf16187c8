#!/bin/sh
# What a learner does in the step "smaller".
klab node exec node-1 sed -i 's/"mtu": 1450/"mtu": 1400/' /etc/cni/net.d/10-klab.conflist
exec kubectl apply -f files/small.yaml
