package kubelet

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// restartingAll is the reason of containers that were removed because another
// one's end restarts the whole pod in its sandbox. ("Pod Lifecycle", "Restart
// all containers".)
const restartingAll = "RestartingAllContainers"

const removedForRestart = "The container is removed because RestartAllContainers in place"

// matchingRule is the first of the container's rules that speaks of code.
func matchingRule(c *corev1.Container, code int32) *corev1.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		rule := &c.RestartPolicyRules[i]
		if rule.ExitCodes == nil {
			continue
		}
		in := slices.Contains(rule.ExitCodes.Values, code)
		switch rule.ExitCodes.Operator {
		case corev1.ContainerRestartRuleOnExitCodesOpIn:
			if in {
				return rule
			}
		case corev1.ContainerRestartRuleOnExitCodesOpNotIn:
			if !in {
				return rule
			}
		}
	}
	return nil
}

// restartsEverything tells whether the container ended so that all start anew.
func restartsEverything(c *corev1.Container, now *containerState) bool {
	if now == nil || !now.exited() {
		return false
	}
	rule := matchingRule(c, now.ExitCode)
	return rule != nil && rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers
}

// mayRestartAll tells whether the pod has such a rule.
func mayRestartAll(spec *corev1.PodSpec) bool {
	return slices.ContainsFunc(slices.Concat(spec.InitContainers, spec.Containers), func(c corev1.Container) bool {
		return slices.ContainsFunc(c.RestartPolicyRules, func(r corev1.ContainerRestartRule) bool {
			return r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		})
	})
}

// resets lists the containers that are to be removed, if one's end asks for
// that: those that asked come last, so that a kubelet that begins anew in the
// middle goes on.
func resets(pod *corev1.Pod, state *podState) []containerKill {
	var asked, others []containerKill
	found := false
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		found = found || restartsEverything(&c, state.latest(c.Name))
		for _, now := range state.containers {
			if now.name() != c.Name {
				continue
			}
			kill := containerKill{ID: now.Id, Name: c.Name, Message: "killing"}
			if restartsEverything(&c, now) {
				asked = append(asked, kill)
			} else {
				others = append(others, kill)
			}
		}
	}
	if !found {
		return nil
	}
	return append(others, asked...)
}

// reset removes the containers; the next turn starts the pod from its first
// init container, in the sandbox that it has.
func (w *podWorker) reset(ctx context.Context, pod *corev1.Pod, list []containerKill) error {
	for _, kill := range list {
		c := w.byID(kill.ID)
		if c == nil {
			continue
		}
		if c.running() {
			now := w.k.Clock.Since()
			if err := w.stopContainer(ctx, pod, c, func() time.Duration { return now }, kill.Message); err != nil {
				return err
			}
		}
		if err := w.k.Runtime.RemoveContainer(ctx, kill.ID); err != nil {
			return fmt.Errorf("remove container %s: %w", kill.Name, err)
		}
		w.state.forget(kill.ID)
		w.cleared[kill.Name] = true
		delete(w.waiting, kill.Name)
	}
	w.kick(0)
	return nil
}

// restarting is the condition of pods that may restart as a whole.
func (in *statusInput) restarting(phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
	switch {
	case phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case phase == corev1.PodFailed:
		c.Reason = "PodFailed"
	case len(resets(in.pod, in.state)) > 0:
		c.Status = corev1.ConditionTrue
		c.Reason, c.Message = "RestartAllContainersStarted", "container exited with restart policy rule"
	}
	return c
}
