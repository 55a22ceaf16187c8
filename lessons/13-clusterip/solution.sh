#!/bin/sh
# What a learner does in the step "mend".
exec kubectl patch service broken -p '{"spec":{"selector":{"app":"far"},"ports":[{"port":80,"targetPort":8080}]}}'
