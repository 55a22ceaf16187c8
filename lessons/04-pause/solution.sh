#!/bin/sh
# What a learner does in the step "ground": end process 1 of the pod's namespace.
kubectl exec open -c side -- kill 1 || true # it ends with the rest of the namespace
