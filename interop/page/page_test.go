package page_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	soon  = 10 * time.Second
	phone = 390
)

// TestPage opens the page of one of three nodes and looks at it while things happen.
func TestPage(t *testing.T) {
	ctx := t.Context()
	a := start(ctx, t, "a", "--embedded-listen", "127.0.0.1:0", "--page-actions")
	b := start(ctx, t, "b", "--nats", a.nats)
	c := start(ctx, t, "c", "--nats", a.nats)
	tab := newBrowser(t)
	tab.view(t, 1280, 900, "light")

	// In a browser the clients' setting leads to the page.
	tab.do(t, chromedp.Navigate(a.root()+"eureka/"))
	if at := eval[string](t, tab, "location.href"); at != a.root() {
		t.Errorf("at %s, want %s", at, a.root())
	}
	tab.see(t, soon, "it is live", "document.getElementById('live').textContent === 'live'")
	tab.see(t, soon, "it tells how to begin", text("No services yet"))
	tab.see(t, soon, "two peers are in touch", text("of 2 in touch"))
	tab.picture(t, "empty")

	t.Run("a register on another node is seen within a second", func(t *testing.T) {
		var took []time.Duration
		for i := range 5 {
			id := fmt.Sprint("first-", i)
			b.register(ctx, t, client(), "ORDERS", id, "eu-1")
			began := time.Now()
			tab.see(t, soon, "the instance is in the list", fmt.Sprintf("document.getElementById('list').innerText.includes(%q)", id))
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("seen after %v", took) // half a second of it the change waits for others
		if took[2] > time.Second {
			t.Errorf("seen after %v in the median, want a second at most", took[2])
		}
	})

	t.Run("search and filters are in the address", func(t *testing.T) {
		for i := range 250 {
			b.register(ctx, t, client(), "CATALOG", fmt.Sprint("item-", i), fmt.Sprint("eu-", i%3))
		}
		tab.see(t, soon, "all are there", text("1 to 100 of 255"))
		if _, err := send(ctx, http.MethodPut, a.root()+"eureka/apps/CATALOG/item-17/status?value=OUT_OF_SERVICE", ""); err != nil {
			t.Fatal(err)
		}
		tab.see(t, soon, "the one that is out of service is the first one",
			"document.querySelector('.instance .id a').innerText === 'item-17'")
		tab.do(t, chromedp.SendKeys("input[name=q]", "item-24"))
		tab.see(t, soon, "11 are left", text("1 to 11 of 11")+" && location.search === '?q=item-24'")
		tab.do(t, chromedp.SetValue("select[name=zone]", "eu-1"),
			chromedp.Evaluate[chromedp.Void]("document.querySelector('select[name=zone]').dispatchEvent(new Event('change', {bubbles: true}))"))
		tab.see(t, soon, "3 are left", text("1 to 3 of 3"))
		tab.do(t, chromedp.Reload())
		tab.see(t, soon, "they are so after a reload", text("1 to 3 of 3")+" && document.querySelector('input[name=q]').value === 'item-24'")
		tab.do(t, chromedp.Navigate(a.root()))
		tab.do(t, chromedp.Click("a[rel=next]"))
		tab.see(t, soon, "the next page is there", text("101 to 200 of 255")+" && location.search === '?page=2'")
		tab.do(t, chromedp.NavigateBack())
		tab.see(t, soon, "so is the one before", text("1 to 100 of 255"))
	})

	t.Run("an instance is taken out of service and back", func(t *testing.T) {
		tab.do(t, chromedp.Navigate(a.root()+"?q=item-42"), chromedp.Click(".instance .id a"))
		tab.see(t, soon, "its page is there", text("What each node says")+" && "+text("all the same"))
		tab.do(t, chromedp.Click(`a[href*="action=out-of-service"]`), chromedp.WaitVisible("form.actions"),
			chromedp.Click("form.actions button"))
		tab.see(t, soon, "it is out of service", text("You took it out of service.")+" && "+text("Its status is an override, set by client 127.0.0.1"))
		tab.see(t, soon, "it says who knows it", text("Who knows that it is out of service")+" && "+text("everybody"))
		await(ctx, t, soon, "so it is on another node", func() error {
			body, err := send(ctx, http.MethodGet, b.root()+"eureka/apps/CATALOG/item-42", "")
			if err == nil && !strings.Contains(body, "OUT_OF_SERVICE") {
				err = errors.New("not yet")
			}
			return err
		})
		// What another node does to it is shown without a reload.
		if _, err := send(ctx, http.MethodDelete, b.root()+"eureka/apps/CATALOG/item-42/status?value=UP", ""); err != nil {
			t.Fatal(err)
		}
		tab.see(t, soon, "the page follows", text("override removed elsewhere")+" && !"+text("Its status is an override"))
		tab.picture(t, "instance")
		tab.do(t, chromedp.Navigate(a.root()+"page/changes?app=catalog&id=item-42"))
		tab.see(t, soon, "its changes are there", text("override: out of service")+" && "+text("client 127.0.0.1"))
	})

	t.Run("an instance is drained", func(t *testing.T) {
		fetch := func() {
			if _, err := send(ctx, http.MethodGet, b.root()+"eureka/apps", ""); err != nil {
				t.Fatal(err)
			}
		}
		fetch()
		tab.do(t, chromedp.Navigate(a.root()+"page/instance?app=CATALOG&id=item-43"),
			chromedp.Click(`a[href*="action=drain"]`), chromedp.WaitVisible("form.actions"))
		drainPictures(t, tab, "drain-question")
		tab.do(t, chromedp.Click("form.actions button"))
		tab.see(t, soon, "it says who does not know it", text("You began to drain it.")+" && "+text("not everybody yet")+" && "+
			text("1 client has not been served without it.")+" && "+text("127.0.0.1 Go-http-client/1.1"))
		drainPictures(t, tab, "drain-waits")
		fetch() // the page hears of it without a reload
		tab.see(t, soon, "it says that all know it", text("It may be stopped.")+" && "+text("everybody")+" && !"+text("not everybody yet"))
		drainPictures(t, tab, "drain-done")
		tab.do(t, chromedp.Click(`a[href*="action=up"]`), chromedp.WaitVisible("form.actions"),
			chromedp.Click("form.actions button"))
		tab.see(t, soon, "it is back", text("You removed the override.")+" && !"+text("Who knows that it is out of service"))
	})

	t.Run("keys", func(t *testing.T) {
		tab.do(t, chromedp.Navigate(a.root()), chromedp.KeyEvent(kb.Tab))
		if got := eval[string](t, tab, "document.activeElement.className"); got != "skip" {
			t.Errorf("the first stop is %q, want the link past the head", got)
		}
		tab.do(t, chromedp.KeyEvent(kb.Enter))
		if got := eval[string](t, tab, "document.activeElement.id"); got != "main" {
			t.Errorf("it leads to %q, want main", got)
		}
	})

	t.Run("every width", func(t *testing.T) {
		for _, width := range []int64{320, phone, 768, 1280, 1920} {
			tab.view(t, width, 900, "light")
			if over := eval[int](t, tab, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
				t.Errorf("%d pixels: %d more are needed", width, over)
			}
		}
	})

	t.Run("contrast", func(t *testing.T) {
		for _, path := range []string{
			"", "page/instance?app=CATALOG&id=item-17", "page/changes", "page/differences", "page/configuration",
			"page/confirm?action=cancel&app=CATALOG&id=item-17",
		} {
			tab.do(t, chromedp.Navigate(a.root()+path))
			for _, width := range []int64{phone, 1280} {
				tab.view(t, width, 900, "light")
				if over := eval[int](t, tab, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
					t.Errorf("%s, %d pixels: %d more are needed", path, width, over)
				}
			}
			for _, colours := range []string{"light", "dark"} {
				tab.view(t, 1280, 900, colours)
				for _, bad := range eval[[]string](t, tab, lowContrast) {
					t.Errorf("%s, %s: %s", path, colours, bad)
				}
			}
		}
		tab.do(t, chromedp.Navigate(a.root()))
	})
	tab.clean(t, a.root())

	t.Run("it does not grow", func(t *testing.T) {
		alone := newBrowser(t) // without the pages that the other one keeps, to go back to
		staysSmall(t, alone, a, b)
		alone.clean(t, a.root())
	})

	t.Run("a dead peer", func(t *testing.T) {
		if err := c.proc.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		tab.see(t, 20*time.Second, "its trouble and what ends it",
			text("Nothing was heard of it for")+" && "+text("It ends when it is heard again")+" && "+text("of 2 in touch")+
				" && document.querySelectorAll('.peer.bad').length === 1")
		for _, colours := range []string{"light", "dark"} {
			tab.view(t, 1280, 900, colours)
			tab.picture(t, "dead-peer-"+colours)
			for _, bad := range eval[[]string](t, tab, lowContrast) {
				t.Errorf("%s: %s", colours, bad)
			}
		}
		tab.view(t, phone, 2000, "light")
		tab.picture(t, "dead-peer-phone")
	})
	tab.clean(t, a.root())

	t.Run("a dead node", func(t *testing.T) {
		tab.expected = func(string) bool { return true } // the browser logs each attempt
		if err := a.proc.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		tab.see(t, soon, "the page says that it is not live", "document.getElementById('live').classList.contains('off')")
	})
	tab.clean(t, a.root())
}

// drainPictures keeps the tab on a phone and on a screen, light and dark, and looks at its width
// and colours.
func drainPictures(t *testing.T, tab *browser, name string) {
	t.Helper()
	for _, width := range []int64{phone, 1280} {
		for _, colours := range []string{"light", "dark"} {
			tab.view(t, width, 1200, colours)
			if over := eval[int](t, tab, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
				t.Errorf("%s, %d pixels: %d more are needed", name, width, over)
			}
			for _, bad := range eval[[]string](t, tab, lowContrast) {
				t.Errorf("%s, %s: %s", name, colours, bad)
			}
			tab.picture(t, fmt.Sprintf("%s-%d-%s", name, width, colours))
		}
	}
	tab.view(t, 1280, 900, "light")
}

// staysSmall makes 6,000 changes in 20 seconds, as many as a busy cluster in two minutes,
// while the page is open, and compares what the tab holds before and after.
func staysSmall(t *testing.T, tab *browser, a, b *node) {
	tab.view(t, 1280, 900, "light")
	tab.do(t, chromedp.Navigate(a.root()))
	const instances, each, pause = 200, 30, 100 * time.Millisecond
	c := client()
	defer c.CloseIdleConnections()
	n := 0
	churn := func(rounds int) {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for range rounds {
			for range each / 2 { // two changes
				n++
				app, id := fmt.Sprint("BUSY-", n%7), fmt.Sprint("b-", n%instances)
				at := b.root() + "eureka/apps/" + app + "/" + id
				b.register(t.Context(), t, c, app, id, "eu-9")
				method := http.MethodDelete
				if n%3 > 0 {
					method, at = http.MethodPut, at+"/status?value=DOWN"
				}
				if _, err := sendBy(t.Context(), c, method, at, ""); err != nil {
					t.Error(err)
				}
			}
			<-tick.C
		}
		settled := fmt.Sprintf("settled-%d", n)
		b.register(t.Context(), t, c, "AAA", settled, "eu-9")
		if _, err := send(t.Context(), http.MethodPut, b.root()+"eureka/apps/AAA/"+settled+"/status?value=DOWN", ""); err != nil {
			t.Fatal(err) // so it comes before all others
		}
		tab.see(t, 2*soon, "the last change is in the list",
			fmt.Sprintf("document.getElementById('list').innerText.includes(%q)", settled))
	}
	churn(40) // the list has its usual length then
	before := tab.size(t)
	churn(200)
	after := tab.size(t)
	t.Logf("before %+v, after %+v", before, after)
	if after.nodes > before.nodes+before.nodes/5 {
		t.Errorf("%d DOM nodes, before %d", after.nodes, before.nodes)
	}
	if after.heap > 1.3*before.heap {
		t.Errorf("%.0f bytes of heap, before %.0f", after.heap, before.heap)
	}
	if after.listeners > before.listeners {
		t.Errorf("%d listeners, before %d", after.listeners, before.listeners)
	}
}

// lowContrast is an expression: texts whose colours differ less than WCAG AA asks.
const lowContrast = `(() => {
  const parse = (s) => (s.match(/[\d.]+/g) || []).map(Number);
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      const alpha = c.length > 3 ? c[3] : 1;
      if (alpha > 0) layers.push([c, alpha]);
      if (alpha === 1) break;
    }
    let out = [255, 255, 255];
    for (const [c, alpha] of layers.reverse()) out = out.map((v, i) => v * (1 - alpha) + c[i] * alpha);
    return out;
  };
  const bad = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !e.checkVisibility() || e.closest('.unseen, .skip, noscript, option')) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(style.color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    const large = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700;
    if (ratio < (large ? 3 : 4.5)) bad.add(e.className + ' ' + e.nodeName + ' "' + texts.currentNode.data.trim().slice(0, 30) + '": ' + ratio.toFixed(2));
  }
  return [...bad];
})()`
