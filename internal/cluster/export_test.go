package cluster

var NewestFirst = newestFirst
