// Package differential asks a Spring Cloud Eureka server and registryd the same
// things, and compares the answers:
//
//	            ┌──────▶ Spring Cloud Eureka ──answer──┐
//	generate ──play                                  compare ──▶ difference ──▶ class, by name
//	            └──────▶ registryd ──────────answer────┘                   └──▶ shrink ──▶ the least sequence
//
// A sequence is a handful of requests about instances of its own, drawn from a seed.
// Answers are compared as their readers see them: status code, the headers that
// matter, and the body as a tree. Times that each server sets by itself are masked.
// A difference is an instance of a class, which docs/eureka-compatibility.md
// explains, or it is an error.
//
// The tests print the seed. A failure prints the least sequence that shows it; the
// flags -seed and -requests replay the whole run.
package differential
