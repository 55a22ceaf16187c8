package kubelet

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// messageFile is what a container finds at its terminationMessagePath.
func (k *Kubelet) messageFile(pod *corev1.Pod, container string, attempt int) string {
	return filepath.Join(k.podDir(pod.UID), "containers", container, fmt.Sprint(attempt))
}

// Limits of termination messages. ("Determine the Reason for Pod Failure".)
const (
	maxMessage      = 4096
	maxMessageLog   = 2048
	maxMessageLines = 80
)

// terminationMessage is what a container that has ended left to say: its file,
// or the end of its log if it failed and its policy allows it.
func (w *podWorker) terminationMessage(c *containerState) string {
	if text, known := w.messages[c.Id]; known {
		return text
	}
	pod := w.current()
	text := readStart(w.k.messageFile(pod, c.name(), c.restarts()), maxMessage)
	if text == "" && c.ExitCode != 0 && c.Annotations[annotationPolicy] == string(corev1.TerminationMessageFallbackToLogsOnError) {
		text = logTail(c.LogPath, maxMessageLines, maxMessageLog)
	}
	w.messages[c.Id] = text
	return text
}

func readStart(path string, limit int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, limit))
	return string(text)
}
