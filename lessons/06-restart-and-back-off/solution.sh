#!/bin/sh
# What a learner does in the steps "mend" and "patient".
kubectl set image pod/typo app=klab.local/tools:1
kubectl get pod patient 2>/dev/null || kubectl run patient --image=klab.local/tools:1 --restart=OnFailure --command -- sh -c 'exit 0'
