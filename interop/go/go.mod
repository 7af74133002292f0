module interop/go

go 1.24

require golang.ngrok.com/muxado/v2 v2.0.2
