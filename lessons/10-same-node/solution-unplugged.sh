#!/bin/sh
# What a learner does in the step "unplugged".
link=$(klab node exec node-1 ip -o link 2>/dev/null | grep 'alias default/b' | cut -d' ' -f2 | cut -d@ -f1)
exec klab node exec node-1 ip link set "$link" master cni0
