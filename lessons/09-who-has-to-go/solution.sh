#!/bin/sh
# What a learner does in the step "guaranteed".
exec kubectl set resources deployment web --containers='*' --requests=cpu=20m,memory=48Mi --limits=cpu=20m,memory=48Mi
