package main

import (
	"crypto/tls"
	"flag"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// Scripts wait for other programs most of the time: twice as many run side by side as
	// there are cores, unless -parallel says otherwise.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err) // the testing package has the flag
	}
	testscript.Main(m, map[string]func(){"telesphore": main, "crashserver": crashServer, "killserver": killServer})
}

// TestScripts runs the product's behaviour in protocol words: see the commands
// of this package's tests (cmdDemo and the others) and testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:       "testdata",
		Condition: condition,
		Setup: func(env *testscript.Env) error {
			all := make(fleet)
			env.Values["fleet"] = all
			env.Values["sessions"] = make(map[string]*tls.ClientSessionState)
			env.Values["read"] = make(map[string]string)
			env.Values["answers"] = make(map[string]chan error)
			env.Setenv("LANG", "C")
			guide, err := filepath.Abs("../../docs/guide")
			env.Setenv("guide", guide)
			env.Defer(func() {
				for _, p := range all {
					p.kill()
				}
			})
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"demo": cmdDemo, "serve": cmdServe, "signal": cmdSignal, "stopped": cmdStopped,
			"log": cmdLog, "status": cmdStatus, "talk": cmdTalk,
			"set": cmdSet, "code": cmdCode, "base64": cmdBase64, "renew": cmdRenew,
			"maildir": cmdMaildir, "samemail": cmdSamemail,
			"operator": cmdOperator, "ports": cmdPorts, "daemon": cmdDaemon, "arrives": cmdArrives,
			"await": cmdAwait, "arrived": cmdArrived, "samebody": cmdSamebody, "signed": cmdSigned,
			"pretend": cmdPretend, "answer": cmdAnswer, "answered": cmdAnswered,
			"payload": cmdPayload, "detach": cmdDetach,
		},
	})
}
