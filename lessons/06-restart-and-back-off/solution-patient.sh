#!/bin/sh
# What a learner does in the step "patient".
exec kubectl run patient --image=klab.local/tools:1 --restart=OnFailure --command -- sh -c 'exit 0'
