// Package lessons reads lessons and leads learners through them.
//
// There are only a few nouns:
//
//   - [Lesson]: what an author wrote: [Step]s of prose in two languages, with
//     commands to carry out, predictions, quizzes, checks and hints. [Parse]
//     reads one, [Catalog] has those that are built in, [Lint] reviews them.
//   - [Session]: a learner in a lesson. It is a state machine over the lab's
//     events and the learner's answers, and is what the terminal interface draws.
//   - [Host]: the hands of a session in a live lab; a recording has none.
//   - [Plain]: a session as lines of text, for pipes and screen readers.
//   - [Progress]: what a learner did, kept as JSON lines.
//
// Start reading at [Session]. What a lesson observes it takes from events
// alone, so live labs and recordings are one path. Authors write no Go.
package lessons
