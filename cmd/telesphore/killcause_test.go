package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"telesphore/backend/queue"
	"telesphore/backend/relay"
)

// This file finds out why the kill test's messages came more than once.

// What can be behind a copy too many.
const (
	lostReply  = "the receiving server was killed before its reply had arrived, and the sending one was in doubt"
	lostRecord = "the sending server was killed before it had written down that the other one had taken the message"

	killLag = time.Second // for a server to take a message that it has received
)

// explain finds a kill behind whatever stands twice in a mailbox.
func (k *killing) explain(f *found, problem func(string, ...any)) {
	said := map[*victim]*sayings{}
	for _, v := range k.victims {
		said[v] = v.sayings()
	}
	again := map[string]string{} // the cause of each transaction too many: all its recipients are one
	explain := func(key string, copies []copied, from, to *victim) {
		for i := range copies {
			c := &copies[i]
			if at, ok := said[to].took[c.here]; ok {
				c.at, c.told = at, true
			}
		}
		slices.SortFunc(copies, func(a, b copied) int { return cmp.Or(strings.Compare(a.id, b.id), a.at.Compare(b.at)) })
		for i := 1; i < len(copies); i++ {
			first, second := &copies[i-1], &copies[i]
			if first.id != second.id {
				continue // notices about different copies
			}
			cause := k.why(said[from].queue, from, to, first, second)
			if cause == "" {
				problem("twice for no reason: %s: %+v\n%s", key, copies, k.around(first.at, second.at))
			}
			again[fmt.Sprint(second.id, i)] = cause
		}
	}
	for key, copies := range f.messages {
		from, to := k.towards(key)
		explain(key, copies, from, to)
	}
	for key, copies := range f.notices {
		from, to := k.towards(key)
		explain(key, copies, to, from) // they go back
	}
	k.causes = map[string]int{}
	for id, cause := range again {
		kind := "message: "
		if !strings.HasPrefix(id, "<kill-") {
			kind = "notice: "
		}
		k.causes[kind+cause]++
	}
	// A server that is killed has no more than these under way.
	if most := (queue.DefaultLimits().PerDomain + 1) * 2 * (len(k.victims[0].dead) + len(k.victims[1].dead)); len(again) > most {
		problem("%d transactions too many, and kills explain %d", len(again), most)
	}
	k.handedTwice(said, problem)
}

// towards says between whom a message for a recipient went.
func (k *killing) towards(key string) (from, to *victim) {
	from, to = k.victims[0], k.victims[1]
	if strings.HasSuffix(key, "@"+from.domain) {
		return to, from
	}
	return from, to
}

// handedTwice: what is written down as handed over is never handed over again.
func (k *killing) handedTwice(said map[*victim]*sayings, problem func(string, ...any)) {
	for v, all := range said {
		seen := map[string]bool{}
		for _, e := range all.queue {
			if e.event != "queue.delivered" {
				continue
			}
			if seen[e.message] {
				problem("%s: handed over again though it was written down: %s", v.domain, e.message)
			}
			seen[e.message] = true
		}
	}
}

// why says what is behind the second of two copies, "" when nothing is. What the servers
// have said proves it; one that was killed has said nothing.
func (k *killing) why(said []logged, from, to *victim, first, second *copied) string {
	begin, end := first.at, second.at
	if !second.told {
		end = end.Add(time.Second)
	}
	killed := func(v *victim, begin, end time.Time) int {
		return slices.IndexFunc(v.dead, func(d death) bool { return d.between(begin, end) })
	}
	if begin.IsZero() || end.Before(begin) {
		return ""
	}
	if !first.told && killed(to, begin, end) >= 0 {
		return lostReply
	}
	for _, e := range said {
		switch {
		case first.name != "" && e.message != first.name:
		case first.name != "" && e.event == "queue.delivered" && e.at.Before(second.at):
			return "" // it knew better
		case e.at.After(begin) && e.at.Before(end) && strings.Contains(e.line, relay.ErrDoubt.Error()) && killed(to, begin, e.at) >= 0:
			return lostReply
		}
	}
	// What a server had sent when it was killed, the other one takes all the same.
	if n := killed(from, begin.Add(-killLag), end); n >= 0 {
		k.slowest = max(k.slowest, from.dead[n].begin.Sub(begin))
		return lostRecord
	}
	return ""
}

// around is what the servers said between two moments and when they were killed, for people.
func (k *killing) around(begin, end time.Time) string {
	var all []string
	for _, v := range k.victims {
		for _, d := range v.dead {
			all = append(all, fmt.Sprintf("time=%s %s killed", d.begin.UTC().Format(time.RFC3339Nano), v.domain))
		}
		for _, p := range v.runs {
			for _, line := range strings.Split(p.output(), "\n") {
				all = append(all, line+" "+v.domain)
			}
		}
	}
	slices.Sort(all)
	from := "time=" + begin.Add(-time.Second).UTC().Format(time.RFC3339)
	to := "time=" + end.Add(2*time.Second).UTC().Format(time.RFC3339)
	return strings.Join(slices.DeleteFunc(all, func(line string) bool { return line < from || line > to }), "\n")
}

// sayings are what a victim's runs have said.
type sayings struct {
	queue []logged             // of the messages of its queue
	took  map[string]time.Time // when it took messages, by the name that it gave them
}

// logged is what a server said of a message of its queue.
type logged struct {
	at      time.Time
	event   string
	message string
	line    string
}

var logEvent = regexp.MustCompile(`^time=(\S+) level=\w+ msg=(queue\.\w+|smtp\.accepted) (?:message|id)=(\w+) `)

func (v *victim) sayings() *sayings {
	all := &sayings{took: map[string]time.Time{}}
	for _, p := range v.runs {
		for _, line := range strings.Split(p.output(), "\n") {
			m := logEvent.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			at, err := time.Parse(time.RFC3339Nano, m[1])
			switch {
			case err != nil:
			case m[2] == "smtp.accepted":
				all.took[m[3]] = at
			default:
				all.queue = append(all.queue, logged{at, m[2], m[3], line})
			}
		}
	}
	return all
}

// figures are what the run came to.
func (k *killing) figures() string {
	text := fmt.Sprintf("%d acknowledged messages of %d that were handed in, %d others were kept; kills: %d of %s, %d of %s, %d of them of one that was starting",
		k.acknowledged, len(k.handed), k.doubtful, len(k.victims[0].dead), k.victims[0].domain, len(k.victims[1].dead), k.victims[1].domain, k.early)
	for _, cause := range slices.Sorted(maps.Keys(k.causes)) {
		text += fmt.Sprintf("\nhanded over once more, %s: %d", cause, k.causes[cause])
	}
	text += fmt.Sprintf("\nthe longest that a message had arrived and was not written down: %v", k.slowest)
	return text
}
