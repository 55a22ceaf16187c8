#!/bin/sh
# What a learner does in the step "mend".
exec klab node exec node-1 bridge fdb replace 0a:58:0a:f4:02:00 dev flannel.1 dst 172.30.0.12 self permanent
