// Keeps an open page up to date: puts newer HTML of the node in the place of older, and
// lets times run in between. Without it the page is whole, and is reloaded.
'use strict';

(() => {
  const root = document.body.dataset.root;
  const parser = new DOMParser();

  // morph makes an element like another one, and keeps what is alike: nodes, focus,
  // selections. Children with data-key are found again wherever they are.
  const morph = (to, from) => {
    for (const a of [...to.attributes]) if (!from.hasAttribute(a.name)) to.removeAttribute(a.name);
    for (const a of from.attributes) if (to.getAttribute(a.name) !== a.value) to.setAttribute(a.name, a.value);
    if (to === document.activeElement && to.matches('input, select')) return;
    const keyed = new Map();
    for (const c of to.children) if (c.dataset.key !== undefined) keyed.set(c.dataset.key, c);
    let at = to.firstChild;
    for (const next of [...from.childNodes]) {
      const key = next.nodeType === 1 ? next.dataset.key : undefined;
      let same = at;
      if (key !== undefined) {
        same = keyed.get(key);
        keyed.delete(key);
        if (same && same !== at) to.insertBefore(same, at);
      } else if (at && at.nodeType === 1 && at.dataset.key !== undefined) {
        same = null;
      }
      if (same && same.nodeType === next.nodeType && same.nodeName === next.nodeName) {
        at = same.nextSibling;
        if (same.nodeType === 1) {
          if (!same.isEqualNode(next)) morph(same, next);
        } else if (same.data !== next.data) {
          same.data = next.data;
        }
      } else {
        to.insertBefore(document.adoptNode(next), at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  // show puts a piece of HTML in the place of the element of its id.
  const show = (id, html) => {
    const to = document.getElementById(id);
    const from = parser.parseFromString(html, 'text/html').getElementById(id);
    if (to && from) morph(to, from);
  };

  // Times run from when they were put in.
  const since = new WeakMap();
  const elapsed = (element, value) => {
    const known = since.get(element);
    if (known && known.value === value) return (performance.now() - known.at) / 1000;
    since.set(element, { value, at: performance.now() });
    return 0;
  };
  const ago = (seconds) => {
    const s = Math.max(0, Math.floor(seconds));
    const pair = (great, g, small, l) => (small ? `${great} ${g} ${small} ${l}` : `${great} ${g}`);
    if (s < 60) return `${s} s`;
    if (s < 3600) return pair(Math.floor(s / 60), 'min', s % 60, 's');
    if (s < 86400) return pair(Math.floor(s / 3600), 'h', Math.floor(s / 60) % 60, 'min');
    return pair(Math.floor(s / 86400), 'd', Math.floor(s / 3600) % 24, 'h');
  };
  const put = (element, text) => {
    if (element.firstChild) {
      if (element.firstChild.data !== text) element.firstChild.data = text;
    } else {
      element.textContent = text;
    }
  };
  const run = () => {
    if (document.hidden) return;
    for (const e of document.querySelectorAll('[data-age]')) {
      put(e, ago(Number(e.dataset.age) + elapsed(e, e.dataset.age)));
    }
    for (const e of document.querySelectorAll('[data-left]')) {
      const left = Math.max(0, Number(e.dataset.left) - elapsed(e, e.dataset.left));
      if (e.nodeName === 'PROGRESS') {
        e.value = left;
        e.classList.toggle('low', left < e.max / 3);
      } else put(e, ago(left));
    }
  };
  setInterval(run, 1000);

  // The batch being gathered runs faster.
  const gather = () => {
    if (document.hidden) return;
    for (const e of document.querySelectorAll('progress[data-run]')) {
      e.value = Number(e.dataset.run) + elapsed(e, e.dataset.run);
    }
    for (const e of document.querySelectorAll('[data-run-left]')) {
      const left = Math.max(0, Number(e.dataset.runLeft) - elapsed(e, e.dataset.runLeft));
      put(e, `${Math.round(left * 1000)} ms`);
    }
  };
  setInterval(gather, 100);

  // The list is fetched anew when something in it changed: at once, and while changes go
  // on, once a second; and for the heartbeats every five seconds.
  const quick = 200;
  const slow = 1000;
  let pace = quick;
  const list = document.getElementById('list');
  let shown = list ? list.dataset.stamp : '';
  let asked = -Infinity;
  let timer = 0;
  let due = Infinity;
  let fetching = null;
  const address = () => (list ? `${root}page/list${location.search}` : location.href);
  const refresh = async () => {
    clearTimeout(timer);
    due = Infinity;
    asked = performance.now();
    if (fetching) fetching.abort();
    const own = fetching = new AbortController();
    try {
      const answer = await fetch(address(), { signal: own.signal, headers: { Accept: 'text/html' } });
      if (!answer.ok) return;
      const html = await answer.text();
      if (own !== fetching) return;
      if (list) show('list', html);
      else show('main', html);
      run();
    } catch (e) {
      if (e.name !== 'AbortError') soon(2000);
    }
  };
  const soon = (least) => {
    const at = Math.max(performance.now(), asked + least);
    if (at >= due || document.hidden) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(refresh, at - performance.now());
  };
  setInterval(() => soon(5000), 1000);

  if (list) {
    const go = (url) => {
      refresh();
      const form = document.getElementById('search');
      const values = new URL(url, location.href).searchParams;
      for (const name of ['q', 'zone']) if (form.elements[name]) form.elements[name].value = values.get(name) || '';
    };
    document.addEventListener('click', (event) => {
      const link = event.target.closest('a[data-list]');
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      history.pushState(null, '', link.href);
      go(link.href);
      if (link.closest('.pages, .app')) document.getElementById('instances-title').scrollIntoView();
    });
    let typing = 0;
    const search = (event) => {
      const form = event.target.closest('#search');
      if (!form) return;
      if (event.type === 'submit') event.preventDefault();
      clearTimeout(typing);
      typing = setTimeout(() => {
        const values = new URLSearchParams(new FormData(form));
        for (const [name, value] of [...values]) if (!value) values.delete(name);
        history.replaceState(null, '', values.size ? `./?${values}` : './');
        refresh();
      }, event.type === 'input' ? 150 : 0);
    };
    for (const type of ['input', 'change', 'submit']) document.addEventListener(type, search);
    addEventListener('popstate', () => go(location.href));
  }

  // The stream of what changes on the node. A page that nobody sees closes it.
  const live = document.getElementById('live');
  let stream = null;
  let again = 0;
  const say = (text, off) => {
    live.hidden = false;
    live.classList.toggle('off', off);
    if (live.textContent !== text) live.textContent = text;
  };
  const open = () => {
    clearTimeout(again);
    if (stream || document.hidden) return;
    stream = new EventSource(`${root}page/live`);
    stream.onopen = () => say('live', false);
    stream.onerror = () => {
      if (stream.readyState !== EventSource.CLOSED) {
        say('node not reached, trying again', true);
        return;
      }
      close();
      say('not live: too many pages are open, or the node is away', true);
      again = setTimeout(open, 15000);
    };
    for (const name of ['state', 'pipeline', 'regions', 'recent']) {
      stream.addEventListener(name, (event) => {
        if (!list) return;
        show(name, event.data);
        gather();
      });
    }
    stream.addEventListener('list', (event) => {
      if (event.data === shown) return;
      shown = event.data;
      pace = performance.now() - asked > 2 * slow ? quick : Math.min(slow, 2 * pace);
      soon(pace);
    });
  };
  const close = () => {
    if (stream) stream.close();
    stream = null;
  };
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      close();
      return;
    }
    open();
    refresh();
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', open);
  run();
  open();
})();
