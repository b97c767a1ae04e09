package admind

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// Client asks a running server. It is not safe for concurrent use.
type Client struct {
	conn  net.Conn
	lines *bufio.Reader
}

// Dial reaches the server that listens at path, the path of its configuration:
// a longer one than a socket can have is followed to the short one. The error
// wraps fs.ErrNotExist or ECONNREFUSED when no server is there.
func Dial(ctx context.Context, path string) (*Client, error) {
	short, err := follow(path)
	if err != nil {
		return nil, fmt.Errorf("find the administration socket: %w", err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", short)
	if err != nil {
		return nil, fmt.Errorf("call the administration socket: %w", err)
	}
	return &Client{conn: conn, lines: bufio.NewReader(conn)}, nil
}

// Do sends a request and waits for its answer. The error is an *[Error] when the
// server refused.
func (c *Client) Do(ctx context.Context, req *Request) (*Response, error) {
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Now()) })
	defer stop()
	line, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	answer, err := c.lines.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("wait for the server's answer: %w", err)
	}
	res := &Response{}
	if err := json.Unmarshal(answer, res); err != nil {
		return nil, fmt.Errorf("understand the server's answer: %w", err)
	}
	if res.Error != nil {
		return nil, res.Error
	}
	return res, nil
}

// Close hangs up.
func (c *Client) Close() error { return c.conn.Close() }
